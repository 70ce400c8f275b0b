"""One file a cell: its equations, its pointwise forward step and its hand-derived backward step."""
