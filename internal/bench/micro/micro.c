// micro measures what a guest's kernel is asked for most, and prints a line for
// each: what, a tab, and nanoseconds. It runs on a tmpfs, to which it writes.
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
	LEAST = 200 * 1000 * 1000, // how long a figure is measured for, in ns
	PAGE = 4096,
	PAGES = 256,
	CHUNK = 64 * 1024,
	FILE_SIZE = 1024 * 1024,
};

static const char *self;
static int there[2], back[2], file;
static char *region, buffer[CHUNK];

static void check(int ok, const char *what)
{
	if (!ok) {
		perror(what);
		exit(1);
	}
}

static long long now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

// measure prints how long op takes on average, in runs of twice as many until one
// is long enough.
static void measure(const char *name, void (*op)(void))
{
	for (long n = 1;; n *= 2) {
		long long began = now();
		for (long i = 0; i < n; i++)
			op();
		long long took = now() - began;
		if (took >= LEAST) {
			printf("%s\t%lld\n", name, took / n);
			fflush(stdout); // before the next fork
			return;
		}
	}
}

static void system_call(void)
{
	syscall(SYS_getppid);
}

// page_fault touches a page; the region is unmapped and mapped again for each 256.
static void page_fault(void)
{
	static int next = PAGES;
	if (next == PAGES) {
		if (region)
			munmap(region, PAGES * PAGE);
		region = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		check(region != MAP_FAILED, "mmap");
		next = 0;
	}
	*(volatile char *)(region + next++ * PAGE) = 1;
}

static void yield(void)
{
	sched_yield();
}

static void round_trip(void)
{
	char c = 0;
	check(write(there[1], &c, 1) == 1 && read(back[0], &c, 1) == 1, "pipe");
}

static void await(pid_t pid)
{
	int status;
	check(waitpid(pid, &status, 0) == pid && status == 0, "child");
}

static void fork_exit(void)
{
	pid_t pid = fork();
	check(pid >= 0, "fork");
	if (pid == 0)
		_exit(0);
	await(pid);
}

static void fork_exec(void)
{
	pid_t pid = fork();
	check(pid >= 0, "fork");
	if (pid == 0) {
		execl(self, self, "exit", NULL);
		_exit(127);
	}
	await(pid);
}

static void write_file(void)
{
	check(ftruncate(file, 0) == 0, "truncate");
	for (int at = 0; at < FILE_SIZE; at += CHUNK)
		check(pwrite(file, buffer, CHUNK, at) == CHUNK, "write");
}

static void read_file(void)
{
	for (int at = 0; at < FILE_SIZE; at += CHUNK)
		check(pread(file, buffer, CHUNK, at) == CHUNK, "read");
}

// beside measures op with a child that runs other, over and over.
static void beside(const char *name, void (*op)(void), void (*other)(void))
{
	pid_t pid = fork();
	check(pid >= 0, "fork");
	if (pid == 0)
		for (;;)
			other();
	measure(name, op);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static void answer(void)
{
	char c;
	if (read(there[0], &c, 1) != 1 || write(back[1], &c, 1) != 1)
		_exit(1);
}

int main(int argc, char **argv)
{
	if (argc > 1 && strcmp(argv[1], "exit") == 0)
		return 0;
	self = argv[0];
	file = open("micro.data", O_RDWR | O_CREAT | O_TRUNC, 0600);
	check(file >= 0, "micro.data");
	check(pipe(there) == 0 && pipe(back) == 0, "pipe");
	measure("system call (getppid)", system_call);
	measure("page fault, with its part of an mmap and munmap of 1 MiB", page_fault);
	beside("sched_yield to another process and back", yield, yield);
	beside("pipe round trip between two processes", round_trip, answer);
	measure("fork, exit, wait", fork_exit);
	measure("fork, exec of a static program, wait", fork_exec);
	measure("write 1 MiB to tmpfs", write_file);
	measure("read 1 MiB from tmpfs", read_file);
	return 0;
}
