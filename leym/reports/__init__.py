"""HTML reports with inline SVG plots. Torch-free."""
