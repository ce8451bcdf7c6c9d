// pending: signals sent while they are blocked. A standard one is pending once,
// however often it was sent; real-time ones queue.
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

static volatile int standard, realtime;

static void count(int signo) {
	if (signo == SIGUSR1)
		standard++;
	else
		realtime++;
}

int main(void) {
	sigset_t set, pending;
	signal(SIGUSR1, count);
	signal(SIGRTMIN, count);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGRTMIN);
	sigprocmask(SIG_BLOCK, &set, NULL);
	for (int i = 0; i < 3; i++) {
		kill(getpid(), SIGUSR1);
		kill(getpid(), SIGRTMIN);
	}
	sigpending(&pending);
	printf("pending %d, delivered %d\n", sigismember(&pending, SIGUSR1), standard + realtime);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	printf("standard %d, real-time %d\n", standard, realtime);
	return 0;
}
