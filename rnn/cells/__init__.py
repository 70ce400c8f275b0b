"""Recurrent cells. Each file holds one cell: its equations, its forward step and its hand-derived backward step."""
