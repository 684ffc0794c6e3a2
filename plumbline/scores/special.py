"""Four of SciPy's special functions, without the rest of scipy.special. Whoever needs them imports them late.

Importing scipy.special takes 0.2 s, a third of the evaluation of a small table. Most of it is wrappers for other array
libraries, which nobody here uses. What they wrap is `scipy.special._ufuncs`.
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
