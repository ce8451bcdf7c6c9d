// cow: a fork copies no memory until it is written: both processes have all of it
// resident, and the container as a whole has it once, then twice.
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MIB = 1 << 20, SIZE = 32 * MIB };

static long number(const char *path, const char *format) {
	long n = -1;
	FILE *f = fopen(path, "r");
	if (!f || fscanf(f, format, &n) != 1)
		exit(9);
	fclose(f);
	return n;
}

// resident is this process's memory, used the container's, in MiB.
static long resident(void) { return number("/proc/self/statm", "%*d %ld") * sysconf(_SC_PAGESIZE) / MIB; }
static long used(void) { return number("/sys/fs/cgroup/memory.current", "%ld") / MIB; }

// fill writes each byte: what nobody reads afterwards a compiler leaves out.
static void fill(volatile char *memory, char value) {
	for (long i = 0; i < SIZE; i++)
		memory[i] = value;
}

int main(void) {
	char *memory = malloc(SIZE);
	fill(memory, 1);
	long before = used();
	if (resident() < 32)
		return 2;
	if (!fork()) {
		long forked = used();
		printf("after the fork: resident %s, used %s\n", resident() >= 32 ? "all" : "part",
			forked < before + 8 ? "once" : "more");
		fill(memory, 2);
		printf("after writing: resident %s, used %s\n", resident() >= 32 ? "all" : "part",
			used() > before + 24 ? "twice" : "less");
		return 0;
	}
	int status;
	wait(&status);
	printf("the parent's is %s\n", memory[SIZE / 2] == 1 ? "as it was" : "changed");
	return status != 0;
}
