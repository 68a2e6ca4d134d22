"""Source lines and inlined calls from DWARF 2 to 5 (dwarfstd.org; GNU's extensions where used).

Written out, since no library at hand does it well enough. Measured on 5,000 addresses of libpython
3.12, and on 175 MB of C++ (Eigen, templates): `symbolic` has no line for 1.5 % of the addresses,
names cold parts after their neighbours, is 75 MB installed, and converts whole files (3 s, 333 MB
of memory, where 2,000 addresses in 200 places take 1.1 s and 147 MB here, and 3.3 s and 222 MB in
2,000 places chosen by chance); `drgn` is 130 MB and runs elfutils' C on files of strangers;
`pyelftools` takes 5.9 s for a unit of 1.9 MB that takes 0.16 s here; addr2line and llvm-symbolizer
are not on every machine.

Nothing here opens a file, and whatever is wrong with one is a `BadDwarf`.
"""
