"""Words and tags to SenT′ token ids and back, and windows for sentences that do not fit.

SenT′ (Farina et al. 2023, arXiv 2302.05454): input `s₀ w₁ s₁ … w_L s_L </s>`, target
`s₀ t₁ s₁ … t_L s_L </s>`, with sentinels sᵢ.
"""
