// family zombie|orphan: a child that has ended and was not waited for, and one
// whose parent ended first. It has to be PID 1, which gets the orphans.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

// state is the letter in /proc/PID/stat, or - if there is none.
static char state(int pid) {
	char path[64], c = '-';
	snprintf(path, sizeof path, "/proc/%d/stat", pid);
	FILE *f = fopen(path, "r");
	if (f) {
		if (fscanf(f, "%*d (%*[^)]) %c", &c) != 1)
			c = '?';
		fclose(f);
	}
	return c;
}

static void zombie(void) {
	int pid = fork();
	if (!pid)
		_exit(0);
	while (state(pid) != 'Z')
		usleep(10000);
	printf("before the wait: %c\n", state(pid));
	waitpid(pid, NULL, 0);
	printf("after the wait: %c\n", state(pid));
}

static void orphan(void) {
	int child = fork();
	if (!child) {
		int parent = getpid();
		if (!fork()) {
			while (getppid() == parent)
				usleep(10000);
			dprintf(1, "orphan: my parent is %d\n", getppid());
			_exit(9);
		}
		_exit(8);
	}
	for (int pid, status; (pid = wait(&status)) > 0;)
		printf("reaped the %s, status %d\n", pid == child ? "child" : "orphan", WEXITSTATUS(status));
}

int main(int argc, char **argv) {
	setbuf(stdout, NULL);
	if (argc < 2 || getpid() != 1)
		return 1;
	(*argv[1] == 'z' ? zombie : orphan)();
	return 0;
}
