// eat MIB: takes that much memory, and uses it.
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv) {
	for (int i = argc > 1 ? atoi(argv[1]) : 0; i > 0; i--) {
		char *p = malloc(1 << 20);
		if (!p)
			return 1;
		memset(p, 1, 1 << 20);
	}
	return 0;
}
