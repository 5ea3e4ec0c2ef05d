"""The study of generated sentences: in place of silver sentences that there are, pools that were made."""
