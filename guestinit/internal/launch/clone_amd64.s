#include "textflag.h"

// func clone3(args *cloneArgs, size uintptr) (pid, errno uintptr)
//
// The child of CLONE_VM|CLONE_VFORK comes back first, on the same stack, and
// overwrites all below its caller's frame: the return address has to outlive that
// in a register.
TEXT ·clone3(SB),NOSPLIT|NOFRAME,$0-32
	MOVQ	args+0(FP), DI
	MOVQ	size+8(FP), SI
	MOVQ	$435, AX
	POPQ	R12
	SYSCALL
	PUSHQ	R12
	CMPQ	AX, $-4095
	JCC	failed
	MOVQ	AX, pid+16(FP)
	MOVQ	$0, errno+24(FP)
	RET
failed:
	NEGQ	AX
	MOVQ	$0, pid+16(FP)
	MOVQ	AX, errno+24(FP)
	RET
