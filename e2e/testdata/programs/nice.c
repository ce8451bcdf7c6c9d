// nice: two busy processes on one CPU, one of them nicer: what each gets of it.
#define _GNU_SOURCE
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static double busy(int pid) {
	struct rusage r;
	kill(pid, SIGKILL);
	wait4(pid, NULL, 0, &r);
	return r.ru_utime.tv_sec + r.ru_utime.tv_usec / 1e6;
}

int main(void) {
	cpu_set_t one;
	int pids[2], values[2] = {0, 10};
	CPU_ZERO(&one);
	CPU_SET(0, &one);
	sched_setaffinity(0, sizeof one, &one);
	for (int i = 0; i < 2; i++)
		if (!(pids[i] = fork())) {
			setpriority(PRIO_PROCESS, 0, values[i]);
			for (volatile long n = 0;; n++)
				;
		}
	sleep(3);
	kill(pids[0], SIGSTOP);
	kill(pids[1], SIGSTOP);
	double a = busy(pids[0]), b = busy(pids[1]);
	printf("%.2f s and %.2f s\n%s\n", a, b, a > 3 * b && b > 0 ? "shifted" : "not shifted");
	return 0;
}
