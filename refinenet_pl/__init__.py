"""RefineNet (Lin et al., CVPR 2017) as a PyTorch Lightning research template.

Importing this package is cheap: it loads neither torch nor Lightning, so that `refinenet --help` answers at once.
"""

__version__ = "0.1.0"
