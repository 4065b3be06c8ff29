"""The two score thresholds, apart because confusing them makes a good detector look empty or a curve look short."""

EVALUATION_SCORE_THRESHOLD = 0.01
"""Low, because average precision needs the whole precision-recall curve; a shown picture needs the next one."""

SHOW_SCORE_THRESHOLD = 0.3
"""For pictures and people."""
