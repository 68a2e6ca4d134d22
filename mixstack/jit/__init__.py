"""What JIT compilers say of their code: perf maps, jitdump files, the debugger's interface."""
