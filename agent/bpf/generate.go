package bpf

//go:generate bpf2go -go-package bpf -target bpfel -cc clang -cflags "-O2 -mcpu=v2 -Wall -Werror" -type record_end probe probe.bpf.c
