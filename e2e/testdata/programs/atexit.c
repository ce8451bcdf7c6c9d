// atexit exit|_exit|fork: handlers that are registered first run last; a child
// inherits them.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static int parent;

static void say(const char *what) { dprintf(1, "%s%s\n", getpid() == parent ? "" : "child ", what); }
static void one(void) { say("one"); }
static void two(void) { say("two"); }
static void three(void) { say("three"); }

int main(int argc, char **argv) {
	parent = getpid();
	if (argc < 2 || atexit(one) || atexit(two) || atexit(three))
		return 1;
	if (!strcmp(argv[1], "_exit"))
		_exit(5);
	if (!strcmp(argv[1], "fork") && fork() > 0)
		wait(NULL);
	exit(6);
}
