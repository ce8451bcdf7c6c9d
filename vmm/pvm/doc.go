// Package pvm is what a kvm-pvm host needs of the VMM, and no other host enters
// it: telling the host, the guest's CPUID and command line, the instructions
// that KVM's interpreter lacks, and calls that do a kernel's bulk work.
//
//	        guest                       KVM                      here
//	ring 3: runs on the processor
//	ring 0: each instruction  --->  interpreter
//	        xsave, fwait ...  --->  lacks it        --->  CPU.Exit: decode, execute,
//	                                KVM_EXIT_INTERNAL_       step on or inject a fault
//	        out %al, 0xf8-fb  --->  KVM_EXIT_IO     --->  CPU.Exit: fill, copy ... RAM
//
// Everything that comes from the guest, its page tables too, is hostile.
// docs/kvm-pvm.md tells of this host and of the kernel that is made for it.
package pvm
