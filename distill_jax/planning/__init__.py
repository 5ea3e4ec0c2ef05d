"""What a run would need and cost, on devices that need not be there."""
