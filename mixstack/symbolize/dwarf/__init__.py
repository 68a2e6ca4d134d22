"""Source lines and inlined calls from DWARF 2 to 5 (dwarfstd.org; GNU's extensions where used).

Written out, since no library at hand does it well enough, measured on libpython 3.12 and on 113 MB
of `.debug_info` made of C++: `symbolic` (75 MB installed) loses the line of 1.5 % of addresses and
names cold parts after their neighbours; `drgn` (130 MB) runs elfutils' C on files of strangers;
`pyelftools` needs minutes.

Nothing here opens a file, and whatever is wrong with one is a `BadDwarf`.
"""
