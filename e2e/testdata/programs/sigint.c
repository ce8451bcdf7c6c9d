// sigint caught|default: a child that gets SIGINT, and the status a shell would
// give it.
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void caught(int signo) {
	(void)signo;
	exit(0);
}

int main(int argc, char **argv) {
	int status, ready[2];
	char c;
	if (argc < 2 || pipe(ready))
		return 1;
	int pid = fork();
	if (!pid) {
		signal(SIGINT, strcmp(argv[1], "caught") ? SIG_DFL : caught);
		if (write(ready[1], "x", 1) != 1)
			return 1;
		for (;;)
			pause();
	}
	if (read(ready[0], &c, 1) != 1 || kill(pid, SIGINT) || waitpid(pid, &status, 0) != pid)
		return 2;
	printf("status %d\n", WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status));
	return 0;
}
