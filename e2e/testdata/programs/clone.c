// clone FLAG...: a child by clone(2) on a stack it was given, sharing what the
// flags say; both tell who they are, and the parent what the child's doings did
// to it.
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { STACK = 256 * 1024 };
static char *stack;
static int variable, fd;

static int child(void *arg) {
	char here;
	(void)arg;
	dprintf(1, "child: pid %d parent %d, on the stack it was given: %s\n", getpid(), getppid(),
		&here >= stack && &here < stack + STACK ? "yes" : "no");
	variable = 1;
	close(fd);
	return chdir("/etc") ? 1 : 0;
}

int main(int argc, char **argv) {
	int flags = SIGCHLD, status;
	char dir[100];
	for (int i = 1; i < argc; i++)
		flags |= !strcmp(argv[i], "vm") ? CLONE_VM : !strcmp(argv[i], "files") ? CLONE_FILES
			: !strcmp(argv[i], "fs") ? CLONE_FS : !strcmp(argv[i], "pid") ? CLONE_NEWPID
			: !strcmp(argv[i], "uts") ? CLONE_NEWUTS : 0;
	stack = malloc(STACK);
	fd = open("/dev/null", O_RDONLY);
	int pid = clone(child, stack + STACK, flags, NULL);
	if (pid < 0) {
		perror("clone");
		return 1;
	}
	if (waitpid(pid, &status, 0) != pid || status)
		return 2;
	printf("parent: pid %d child %d\n", getpid(), pid);
	printf("memory %s\n", variable ? "shared" : "copied");
	printf("files %s\n", fcntl(fd, F_GETFD) < 0 ? "shared" : "copied");
	printf("folder %s\n", strcmp(getcwd(dir, sizeof dir), "/etc") ? "copied" : "shared");
	return 0;
}
