"""Source lines and inlined calls from DWARF 2 to 5 (dwarfstd.org; GNU's extensions where used).

Written out, since no library at hand does it well enough. Measured on 5,000 addresses of libpython
3.12, and on 200 MB of C++: `symbolic` has no line for 1.5 % of the addresses, names cold parts
after their neighbours, is 75 MB installed, and converts whole files; `drgn` is 130 MB and runs
elfutils' C on files of strangers; `pyelftools` takes 5.9 s for a unit of 1.9 MB that takes 0.16 s
here; addr2line and llvm-symbolizer are not on every machine. On 175 MB of C++ (Eigen, templates)
`symbolic` 13.9 takes 3 s and 333 MB of memory, whatever is asked; here 2,000 addresses in 200
places take 1.1 s and 147 MB, and 2,000 chosen by chance 3.3 s and 222 MB.

Nothing here opens a file, and whatever is wrong with one is a `BadDwarf`.
"""
