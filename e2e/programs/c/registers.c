/* registers N: four processes fill the vector registers, the x87 stack and both
 * control words, each with values of its own, give the CPU away N times, and check
 * that they find what they left. The registers are the widest there are. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define WIDE 64 /* bytes of a zmm register */

struct registers {
	unsigned char vector[32][WIDE];
	unsigned long mask[8];
	unsigned int mxcsr;
	unsigned short fcw;
	double x87[4];
} __attribute__((aligned(64)));

/* Each of these loads all of in, makes a sched_yield system call, spins a little
 * so that a timer may strike, and stores to out. */
#define YIELD "mov $24, %%eax\n syscall\n mov $2000, %%eax\n 1: dec %%eax\n jnz 1b\n"
#define LOAD_X87 "fninit\n fldcw (%[in_fcw])\n ldmxcsr (%[in_mxcsr])\n" \
	"fldl (%[in_x87])\n fldl 8(%[in_x87])\n fldl 16(%[in_x87])\n fldl 24(%[in_x87])\n"
#define STORE_X87 "fnstcw (%[out_fcw])\n stmxcsr (%[out_mxcsr])\n" \
	"fstpl 24(%[out_x87])\n fstpl 16(%[out_x87])\n fstpl 8(%[out_x87])\n fstpl (%[out_x87])\n fninit\n"
#define EACH16(f) f(0) f(1) f(2) f(3) f(4) f(5) f(6) f(7) f(8) f(9) f(10) f(11) f(12) f(13) f(14) f(15)
#define EACH_HIGH(f) f(16) f(17) f(18) f(19) f(20) f(21) f(22) f(23) f(24) f(25) f(26) f(27) f(28) f(29) f(30) f(31)
#define EACH_MASK(f) f(1) f(2) f(3) f(4) f(5) f(6) f(7)
#define YMM_LOAD(n) "vmovdqu " #n "*64(%[in]), %%ymm" #n "\n"
#define YMM_STORE(n) "vmovdqu %%ymm" #n ", " #n "*64(%[out])\n"
#define XMM_LOAD(n) "movdqu " #n "*64(%[in]), %%xmm" #n "\n"
#define XMM_STORE(n) "movdqu %%xmm" #n ", " #n "*64(%[out])\n"
#define ZMM_LOAD(n) "vmovdqu64 " #n "*64(%[in]), %%zmm" #n "\n"
#define ZMM_STORE(n) "vmovdqu64 %%zmm" #n ", " #n "*64(%[out])\n"
#define MASK_LOAD(n) "kmovw " #n "*8(%[in_mask]), %%k" #n "\n"
#define MASK_STORE(n) "kmovw %%k" #n ", " #n "*8(%[out_mask])\n"
#define OPERANDS(i, o) \
	: : [in] "r"(i->vector), [out] "r"(o->vector), [in_x87] "r"(i->x87), [out_x87] "r"(o->x87), \
	    [in_fcw] "r"(&i->fcw), [out_fcw] "r"(&o->fcw), [in_mxcsr] "r"(&i->mxcsr), [out_mxcsr] "r"(&o->mxcsr), \
	    [in_mask] "r"(i->mask), [out_mask] "r"(o->mask) \
	: "rax", "rcx", "r11", "memory"

static void through_xmm(const struct registers *i, struct registers *o)
{
	__asm__ volatile(LOAD_X87 EACH16(XMM_LOAD) YIELD EACH16(XMM_STORE) STORE_X87 OPERANDS(i, o));
}

static void through_ymm(const struct registers *i, struct registers *o)
{
	__asm__ volatile(LOAD_X87 EACH16(YMM_LOAD) YIELD EACH16(YMM_STORE) STORE_X87 "vzeroupper\n" OPERANDS(i, o));
}

static void through_zmm(const struct registers *i, struct registers *o)
{
	__asm__ volatile(LOAD_X87 EACH16(ZMM_LOAD) EACH_HIGH(ZMM_LOAD) EACH_MASK(MASK_LOAD) YIELD
			 EACH16(ZMM_STORE) EACH_HIGH(ZMM_STORE) EACH_MASK(MASK_STORE) STORE_X87 "vzeroupper\n" OPERANDS(i, o));
}

/* kind is a kind of vector registers: how many there are, of how many bytes. */
struct kind {
	const char *name;
	int wide, count;
	void (*through)(const struct registers *, struct registers *);
};

/* fill makes values that tell process and turn. */
static void fill(struct registers *r, int id, int turn, const struct kind *k)
{
	memset(r, 0, sizeof *r);
	for (int n = 0; n < k->count; n++)
		for (int b = 0; b < k->wide; b++)
			r->vector[n][b] = id * 61 + turn * 7 + n * 3 + b + 1;
	if (k->wide == WIDE)
		for (int n = 1; n < 8; n++)
			r->mask[n] = (id * 4097 + turn * 31 + n) & 0xffff;
	r->mxcsr = 0x1f80 | (id & 3) << 13;       /* rounding */
	r->fcw = 0x037f | (3 - (id & 3)) << 10;   /* the other way round */
	for (int n = 0; n < 4; n++)
		r->x87[n] = id * 1000 + turn + n / 4.0;
}

static int check(int id, int turns, const struct kind *k)
{
	static struct registers in, out;
	int wrong = 0;

	for (int t = 0; t < turns; t++) {
		fill(&in, id, t, k);
		memset(&out, 0, sizeof out);
		k->through(&in, &out);
		if (memcmp(&in, &out, sizeof in) != 0 && ++wrong < 4) {
			const unsigned char *a = (void *)&in, *b = (void *)&out;
			size_t at = 0;

			while (a[at] == b[at])
				at++;
			printf("process %d, turn %d: byte %zu is %#x, not %#x\n", id, t, at, b[at], a[at]);
		}
	}
	return wrong != 0;
}

static const struct kind kinds[] = {
	{"AVX-512", 64, 32, through_zmm},
	{"AVX", 32, 16, through_ymm},
	{"SSE", 16, 16, through_xmm},
};

int main(int argc, char **argv)
{
	int turns = argc > 1 ? atoi(argv[1]) : 100, wrong = 0, status;
	const struct kind *k = &kinds[2];

	if (__builtin_cpu_supports("avx512f"))
		k = &kinds[0];
	else if (__builtin_cpu_supports("avx"))
		k = &kinds[1];
	for (int id = 0; id < 4; id++)
		if (fork() == 0) {
			int bad = check(id, turns, k);

			fflush(stdout);
			_exit(bad);
		}
	while (wait(&status) > 0)
		wrong += status != 0;
	printf("4 processes, %d turns, %s: %d wrong\n", turns, k->name, wrong);
	return wrong != 0;
}
