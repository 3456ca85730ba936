/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Writes that can be checked afterwards, in a guest that is moved:
 *
 *	live_guest DISK WRITERS FOLDER [ALLOCATE]   until SIGTERM
 *	live_guest --judge IMAGE COUNT...           what must be there, a COUNT a writer: TAP
 *	                                            comments, status
 *
 * Each writer has BLOCKS blocks of its own, and writes them one after the other, with O_DIRECT and,
 * each eighth time, fdatasync: the n-th write into block n % BLOCKS, as n and a pattern of that.
 * It reads back one of the last that it wrote, too.  How many have been acknowledged is in
 * FOLDER/N.  With ALLOCATE, which is .../p2pmem/allocate of another controller, what is written and
 * read lies in that one's memory, so that one device does DMA to the other all the time.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define BLOCK  16384u
#define BLOCKS 128u
#define SYNC   8u

static volatile sig_atomic_t ending;

static void on_term(int sig)
{
	ending = 1;
}

static void fill(uint64_t *block, unsigned writer, uint64_t n)
{
	uint64_t x = n * 0x9e3779b97f4a7c15u + writer;

	block[0] = n;
	block[1] = writer;
	for (unsigned i = 2; i < BLOCK / 8; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		block[i] = x;
	}
}

static off_t place(unsigned writer, uint64_t n)
{
	return (off_t)((writer * BLOCKS + n % BLOCKS) * BLOCK);
}

/* Is the block at @at what the @n-th write of @writer was? */
static bool is_there(int fd, unsigned writer, uint64_t n, uint64_t *got)
{
	static uint64_t want[BLOCK / 8];
	ssize_t len = pread(fd, got, BLOCK, place(writer, n));

	if (len != BLOCK) {
		printf("# live_guest: writer %u, write %llu: read: %zd, %s\n", writer,
		       (unsigned long long)n, len, strerror(errno));
		return false;
	}
	fill(want, writer, n);
	if (!memcmp(want, got, BLOCK))
		return true;
	printf("# live_guest: writer %u, write %llu: there is write %llu of writer %llu\n", writer,
	       (unsigned long long)n, (unsigned long long)got[0], (unsigned long long)got[1]);
	return false;
}

static int tell(const char *folder, unsigned writer, uint64_t n)
{
	char path[256], text[24];
	int fd, len = snprintf(text, sizeof(text), "%llu\n", (unsigned long long)n);

	snprintf(path, sizeof(path), "%s/%u", folder, writer);
	fd = open(path, O_CREAT | O_WRONLY, 0644);
	if (fd < 0 || write(fd, text, (size_t)len) != len)
		return -1;
	return close(fd);
}

/* Memory of @allocate's device, or ordinary memory. */
static void *room(const char *allocate, size_t len)
{
	int fd = allocate ? open(allocate, O_RDWR) : -1;

	if (allocate && fd < 0)
		return MAP_FAILED;
	return mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED | (allocate ? 0 : MAP_ANONYMOUS),
		    fd, 0);
}

static int writer_main(const char *disk, unsigned writer, const char *folder, const char *allocate)
{
	int fd = open(disk, O_RDWR | O_DIRECT);
	uint64_t *block = room(allocate, 2 * BLOCK), *back = block + BLOCK / 8, n = 0;

	if (fd < 0 || block == MAP_FAILED) {
		printf("# live_guest: %s: %s\n", disk, strerror(errno));
		return 1;
	}
	while (!ending) {
		fill(block, writer, n);
		if (pwrite(fd, block, BLOCK, place(writer, n)) != BLOCK ||
		    (n % SYNC == 0 && fdatasync(fd))) {
			printf("# live_guest: writer %u, write %llu: %s\n", writer,
			       (unsigned long long)n, strerror(errno));
			return 1;
		}
		if (!is_there(fd, writer, n - n % 7, back))
			return 1;
		if (tell(folder, writer, ++n))
			return 1;
	}
	return 0;
}

static int judge(const char *image, char **counts, unsigned writers)
{
	int fd = open(image, O_RDONLY), bad = 0;
	uint64_t *block = malloc(BLOCK), all = 0;

	if (fd < 0 || !block) {
		printf("# live_guest: %s: %s\n", image, strerror(errno));
		return 1;
	}
	for (unsigned w = 0; w < writers; w++) {
		uint64_t n = strtoull(counts[w], NULL, 10), first = n > BLOCKS ? n - BLOCKS : 0;

		for (uint64_t i = first; i < n; i++)
			bad += !is_there(fd, w, i, block);
		all += n;
	}
	printf("# live_guest: %llu writes of %u writers, %d blocks wrong\n",
	       (unsigned long long)all, writers, bad);
	return bad || !all;
}

int main(int argc, char **argv)
{
	struct sigaction act = {.sa_handler = on_term};
	unsigned writers;
	int status, bad = 0;

	if (argc > 3 && !strcmp(argv[1], "--judge"))
		return judge(argv[2], argv + 3, (unsigned)argc - 3);
	if (argc != 4 && argc != 5)
		return 2;
	setvbuf(stdout, NULL, _IOLBF, 0);
	sigaction(SIGTERM, &act, NULL);
	writers = (unsigned)atoi(argv[2]);
	for (unsigned w = 0; w < writers; w++) {
		if (!fork())
			_exit(writer_main(argv[1], w, argv[3], argv[4]));
	}
	/* SIGTERM is sent to all of them. */
	while (wait(&status) > 0 || errno == EINTR)
		bad |= errno != EINTR && status != 0;
	return bad;
}
