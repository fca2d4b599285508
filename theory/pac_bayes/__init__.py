"""F6, F6a. The PAC-Bayes bound of Fisher SAM, theorem 3.2 = A.4, one step of its proof a file.

Read in the order of the proof: ``redundant`` and ``injective`` (is F invertible?), ``covering``, ``regularity``,
``assumption_a3`` (the assumptions), ``mcallester``, ``priors`` (PAC-Bayes, and what a prior may depend on), ``gaussian_kl``,
``tail``, ``losses``, ``final_step`` (from KL to the printed bound), ``bound`` (the theorem, and its value in numbers).
"""
