"""`make demo`: a real Kubernetes, the chart, 117,000 glosses of WordNet, questions in plain English, a killed pod.

Not part of the distribution. `python -m demo up` and `python -m demo down` are its only callers; see demo/__main__.py.
"""
