package kvm

import gokvm "github.com/bobuhiro11/gokvm/kvm"

// Requests are the numbers of all the ioctls that this package makes, for who filters
// system calls; those of a running VM first.
func Requests() []uintptr {
	return []uintptr{
		gokvm.IIO(nrRun),
		gokvm.IIOW(nrSignalMSI, sizeOf[msi]()),
		gokvm.IIOR(nrGetRegs, sizeOf[gokvm.Regs]()),
		gokvm.IIOW(nrSetRegs, sizeOf[gokvm.Regs]()),
		gokvm.IIOR(nrGetSregs, sizeOf[gokvm.Sregs]()),
		gokvm.IIOW(nrSetSregs, sizeOf[gokvm.Sregs]()),
		gokvm.IIOR(nrGetXSave, sizeOf[XSave]()),
		gokvm.IIOW(nrSetXSave, sizeOf[XSave]()),
		gokvm.IIOR(nrGetXCRs, sizeOf[gokvm.XCRS]()),
		gokvm.IIOR(nrGetVCPUEvents, sizeOf[gokvm.VCPUEvents]()),
		gokvm.IIOW(nrSetVCPUEvents, sizeOf[gokvm.VCPUEvents]()),
		gokvm.IIOWR(nrTranslate, sizeOf[translation]()),

		gokvm.IIO(nrGetAPIVersion),
		gokvm.IIO(nrCheckExtension),
		gokvm.IIO(nrCreateVM),
		gokvm.IIO(nrGetVCPUMmapSize),
		gokvm.IIOWR(nrGetSupportedCPUID, 8),
		gokvm.IIO(nrCreateVCPU),
		gokvm.IIOW(nrSetCPUID2, 8),
		gokvm.IIO(nrGetTSCKHz),
		gokvm.IIOW(nrSetUserMemoryRegion, sizeOf[gokvm.UserspaceMemoryRegion]()),
		gokvm.IIO(nrSetTSSAddr),
		gokvm.IIOW(nrSetIdentityMapAddr, 8),
		gokvm.IIOW(nrEnableCap, sizeOf[enableCap]()),
		gokvm.IIOW(nrIOEventFD, sizeOf[ioeventfd]()),
	}
}
