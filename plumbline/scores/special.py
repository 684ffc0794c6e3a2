"""SciPy's special functions, compiled: `from plumbline.scores.special import stdtrit`; imported late.

Importing scipy.special itself brings wrappers for other array libraries as well, which nobody here uses, and takes
0.2 s: a third of the evaluation of a small table. What it wraps is `scipy.special._ufuncs`.
"""

import sys
import types

import scipy

if "scipy.special" in sys.modules:
    from scipy.special import ndtr, ndtri, stdtr, stdtrit
else:
    sys.modules["scipy.special"] = _package = types.ModuleType("scipy.special")
    _package.__path__ = [f"{path}/special" for path in scipy.__path__]
    from scipy.special._ufuncs import ndtr, ndtri, stdtr, stdtrit

    del sys.modules["scipy.special"]  # whoever imports it later gets it whole

__all__ = ["ndtr", "ndtri", "stdtr", "stdtrit"]
