package xdp

// CI runs this with the versions of Debian 12, and compares the files byte by byte.
//go:generate go tool bpf2go -cc clang-14 -strip llvm-strip-14 -target bpfel -tags linux -no-global-types -cflags "-mcpu=v3 -mllvm -no-stack-slot-sharing -Wall -Werror -Wno-logical-op-parentheses -I/usr/include/x86_64-linux-gnu" shield bpf/shield.c
