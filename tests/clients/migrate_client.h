/* SPDX-License-Identifier: BSD-3-Clause */
/* What the files of migrate_client share: two devices `pcitest` of one container, and TAP. */
#ifndef TESTS_CLIENTS_MIGRATE_CLIENT_H
#define TESTS_CLIENTS_MIGRATE_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { RUNNING = 2, STOP = 1, STOP_COPY = 3, RESUMING = 4, RUNNING_P2P = 5, PRE_COPY = 6 };

struct device {
	const char *name;
	int fd;
	uint64_t memory_size; /* of BAR 2 */
};

void ok(bool good, const char *what);
void is(long got, long want, const char *what);
_Noreturn void bail(const char *what);
int plan(void);

/* Open the device, by its group, in the container that all share. */
void device_open(struct device *d, const char *name);
uint64_t reg_read(const struct device *d, uint64_t offset, unsigned size);
void reg_write(const struct device *d, uint64_t offset, uint64_t value, unsigned size);
void memory_read(const struct device *d, uint64_t offset, void *buf, size_t len);
void memory_write(const struct device *d, uint64_t offset, const void *buf, size_t len);
/* All of BAR 2 with a pattern of @seed; is it that? */
void memory_fill(const struct device *d, unsigned seed);
bool memory_is(const struct device *d, unsigned seed);
/* Room for DMA, the same for all devices: @len bytes at *@iova. */
void *dma_room(size_t len, uint64_t *iova);

/* What SET answers: -errno, or what data_fd is. */
int state_set(const struct device *d, unsigned state);
int state_get(const struct device *d);
/* What ioctl PRECOPY_INFO answers: 0 or -errno. */
int precopy_info(int fd, uint64_t *initial, uint64_t *dirty);
/* read(2): how many bytes, or -errno. */
ssize_t get(int fd, void *buf, size_t len);
ssize_t put(int fd, const void *buf, size_t len);
/* All that there is until an end, of whatever kind, into *@out, which is the caller's; what ended
 * it. */
ssize_t get_all(int fd, char **out, size_t *len);
bool put_all(int fd, const char *bytes, size_t len);
unsigned open_fds(void);

/* migrate_facts.c, migrate_hostile.c, migrate_ends.c */
void facts(struct device *a, struct device *b);
void hostile(struct device *a, struct device *b);
/* Begin a session and end in its midst, in the @n'th way.  With an exec: of this, as `open`. */
_Noreturn void end(const char *name, unsigned n);
/* @times processes that do, one after the other. */
void ends(const char *name, unsigned times);

#endif
