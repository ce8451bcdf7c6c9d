/* signals N: N timer signals whose handler runs on an alternate stack and spoils
 * the vector and floating-point registers, while the program checks its own; and
 * what a program may put into a signal frame must not hurt the machine. */
#define _GNU_SOURCE
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

static char stack[64 << 10];
static volatile int count, off_stack;
static int avx; /* whether the upper halves of the vector registers are there */

static void handler(int sig, siginfo_t *info, void *context)
{
	char here;

	if (&here < stack || &here >= stack + sizeof stack)
		off_stack++;
	__asm__ volatile("pcmpeqb %%xmm0, %%xmm0\n movdqa %%xmm0, %%xmm15\n fninit\n fldpi\n" : : : "memory");
	if (avx)
		__asm__ volatile("vinsertf128 $1, %%xmm0, %%ymm0, %%ymm0\n vmovaps %%ymm0, %%ymm15\n" : : : "memory");
	count++;
	(void)sig, (void)info, (void)context;
}

static void on_signal(int sig, void (*f)(int, siginfo_t *, void *))
{
	struct sigaction a = {.sa_sigaction = f, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART};
	stack_t s = {.ss_sp = stack, .ss_size = sizeof stack};

	if (sigaltstack(&s, NULL) != 0 || sigaction(sig, &a, NULL) != 0) {
		perror("sigaction");
		exit(2);
	}
}

#define SPIN "mov $2000000, %%eax\n 1: dec %%eax\n jnz 1b\n"
#define OPERANDS : : [in] "r"(in), [a] "r"(a), [b] "r"(b), [x] "r"(&x), [y] "r"(&y) : "rax", "memory"

/* undisturbed spins with known values in registers and says whether they stayed. */
static int undisturbed(unsigned seed)
{
	unsigned char in[32], a[32], b[32];
	double x = seed + 0.5, y = 0;

	memset(in, seed | 1, sizeof in);
	memcpy(a, in, sizeof in);
	memcpy(b, in, sizeof in);
	if (avx)
		__asm__ volatile("vmovdqu (%[in]), %%ymm0\n vmovaps %%ymm0, %%ymm15\n fldl (%[x])\n" SPIN
				 "vmovdqu %%ymm0, (%[a])\n vmovdqu %%ymm15, (%[b])\n fstpl (%[y])\n vzeroupper\n" OPERANDS);
	else
		__asm__ volatile("movdqu (%[in]), %%xmm0\n movdqa %%xmm0, %%xmm15\n fldl (%[x])\n" SPIN
				 "movdqu %%xmm0, (%[a])\n movdqu %%xmm15, (%[b])\n fstpl (%[y])\n" OPERANDS);
	return memcmp(in, a, 32) == 0 && memcmp(in, b, 32) == 0 && x == y;
}

static void stop_timer(void)
{
	struct itimerval none = {0};

	setitimer(ITIMER_REAL, &none, NULL);
}

/* hostile frames: offset into the XSAVE area of the frame, and what to put there. */
static const struct {
	const char *what;
	int offset;
	uint64_t value;
} frames[] = {
	{"a component that is off", 512, ~0ULL},
	{"the compacted form", 520, 1ULL << 63 | 7},
	{"reserved header bytes", 528, ~0ULL},
	{"reserved bits of MXCSR", 24, ~0ULL},
};
static int frame;

static void spoil(int sig, siginfo_t *info, void *context)
{
	ucontext_t *u = context;

	memcpy((char *)u->uc_mcontext.fpregs + frames[frame].offset, &frames[frame].value, 8);
	(void)sig, (void)info;
}

/* hostile gives the kernel a bad frame in a process of its own, which may die of it
 * or go on. */
static int hostile(int n)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		frame = n;
		on_signal(SIGUSR1, spoil);
		raise(SIGUSR1);
		_exit(0);
	}
	if (waitpid(pid, &status, 0) != pid || (status != 0 && !(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV))) {
		printf("frame with %s: status %#x\n", frames[n].what, status);
		return 1;
	}
	return 0;
}

int main(int argc, char **argv)
{
	int n = argc > 1 ? atoi(argv[1]) : 100, wrong = 0, bad = 0;
	struct itimerval every = {{0, 20000}, {0, 20000}};

	avx = __builtin_cpu_supports("avx");
	on_signal(SIGALRM, handler);
	setitimer(ITIMER_REAL, &every, NULL);
	for (unsigned i = 0; count < n; i++)
		wrong += !undisturbed(i);
	stop_timer();
	for (int i = 0; i < (int)(sizeof frames / sizeof *frames); i++)
		bad += hostile(i);
	printf("%d signals, %d off the alternate stack, %d wrong, %d bad frames\n", n, off_stack, wrong, bad);
	return wrong + off_stack + bad != 0;
}
