/* rounds N: forks, executes itself and waits, N times. Parent and child lean on
 * what a lost FS base breaks: thread-local variables and the stack protector. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static __thread unsigned local = 0x5eed;

/* churn has a protected stack frame and touches a thread-local variable each turn. */
static unsigned churn(unsigned seed)
{
	char frame[64];
	unsigned sum = 0;

	for (int i = 0; i < 2000; i++) {
		memset(frame, seed + i, sizeof frame);
		local = local * 1103515245 + 12345 + frame[i % sizeof frame];
		sum ^= local;
	}
	return sum;
}

static int child(unsigned seed)
{
	return churn(seed) % 100;
}

static int round_trip(const char *self, unsigned seed)
{
	char arg[16];
	int status;
	pid_t pid;

	snprintf(arg, sizeof arg, "%u", seed);
	pid = fork();
	if (pid == 0) {
		execl(self, self, "child", arg, (char *)NULL);
		_exit(200);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid) {
		perror("fork or wait");
		return 1;
	}
	local = 0x5eed;
	if (!WIFEXITED(status) || WEXITSTATUS(status) != child(seed)) {
		printf("round %u: status %#x\n", seed, status);
		return 1;
	}
	return 0;
}

int main(int argc, char **argv)
{
	int wrong = 0, n;

	if (argc == 3)
		return child(atoi(argv[2]));
	n = atoi(argv[1]);
	for (int i = 0; i < n; i++)
		wrong += round_trip(argv[0], i);
	printf("%d rounds, %d wrong\n", n, wrong);
	return wrong != 0;
}
