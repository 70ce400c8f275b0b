"""Recurrent cells: one file a cell, with its equations, its forward step and its hand-derived backward step."""
