/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A vfio-user client for tests: of the protocol's specification, with no code or header of the
 * server's.  It sends anything, right or wrong: whole messages, bytes, pieces, any fds; it answers
 * the server's DMA_READ and DMA_WRITE as it is told to.
 *
 * Threads: one a connection.  Errors are -errno; what a peer answered with its error bit is the
 * errno of that answer.  Nothing here ends the process.  No wait is for a time: each ends with the
 * message, with the connection, or, so that a test cannot hang, after WIRE_PATIENCE.
 */
#ifndef TESTS_SUPPORT_WIRE_CLIENT_H
#define TESTS_SUPPORT_WIRE_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WIRE_PATIENCE 60000 /* ms */
#define WIRE_MAX_FDS  253u  /* the kernel's limit for one message */

enum wire_command {
	WIRE_VERSION = 1,
	WIRE_DMA_MAP = 2,
	WIRE_DMA_UNMAP = 3,
	WIRE_GET_INFO = 4,
	WIRE_GET_REGION_INFO = 5,
	WIRE_GET_REGION_IO_FDS = 6,
	WIRE_GET_IRQ_INFO = 7,
	WIRE_SET_IRQS = 8,
	WIRE_REGION_READ = 9,
	WIRE_REGION_WRITE = 10,
	WIRE_DMA_READ = 11,
	WIRE_DMA_WRITE = 12,
	WIRE_RESET = 13,
	WIRE_WRITE_MULTI = 15,
	WIRE_FEATURE = 16,
	WIRE_MIG_READ = 17,
	WIRE_MIG_WRITE = 18,
};

enum wire_flags {
	WIRE_COMMAND = 0,
	WIRE_REPLY = 1,
	WIRE_TYPE = 0xf,
	WIRE_NO_REPLY = 0x10,
	WIRE_ERROR = 0x20,
};

struct wire_header {
	uint16_t id, command;
	uint32_t size, flags, error;
};

struct wire_map {
	uint32_t argsz, flags; /* 1 readable, 2 writable */
	uint64_t offset, address, size;
};

struct wire_unmap {
	uint32_t argsz, flags; /* 1 dirty bitmap, 2 all */
	uint64_t address, size;
};

struct wire_access { /* region read and write, then data */
	uint64_t offset;
	uint32_t region, count;
};

struct wire_dma { /* DMA read and write, then data */
	uint64_t address, count;
};

struct wire_device_info {
	uint32_t argsz, flags, num_regions, num_irqs;
};

struct wire_region_info {
	uint32_t argsz, flags, index, cap_offset;
	uint64_t size, offset;
};

struct wire_irq_info {
	uint32_t argsz, flags, index, count;
};

struct wire_irq_set {
	uint32_t argsz, flags, index, start, count;
};

/* A message that came in.  @data and @fds belong to it until wire_drop(). */
struct wire_message {
	struct wire_header head;
	uint8_t *data; /* head.size - 16 bytes, and a NUL behind them */
	size_t len;
	int fds[WIRE_MAX_FDS];
	unsigned nfds;
};

struct wire;
/* What to do with a command of the server's (DMA_READ, DMA_WRITE, or anything). */
typedef void wire_serve(struct wire *w, const struct wire_message *message, void *arg);

struct wire {
	int fd, twin; /* -1: none */
	uint16_t id;  /* of the last message sent */
	wire_serve *serve; /* NULL: commands are dropped */
	void *serve_arg;
	/* what the server offered */
	unsigned max_fds, minor;
	uint64_t max_xfer;
	bool write_multi;
};

/* ---- connections ---- */

/* To the socket at @path: 0 or -errno.  A full backlog is waited for. */
int wire_connect(struct wire *w, const char *path);
/* … and VERSION with everything that this client can. */
int wire_open(struct wire *w, const char *path);
/* … and perhaps a second channel, for the server's commands: w->twin when the server agreed. */
int wire_open_twin(struct wire *w, const char *path, bool twin);
/* VERSION 0.@minor with @json (NULL: none). 0, -errno, -ECONNRESET when the server hung up. */
int wire_version(struct wire *w, unsigned minor, const char *json);
void wire_close(struct wire *w);

/* ---- sending ---- */

/* All the bytes, however many calls it takes; the fds go with the first.  0, -EPIPE, -ECONNRESET.
 */
int wire_send_bytes(int fd, const void *bytes, size_t n, const int *fds, unsigned nfds);
/* A message with exactly this header. */
int wire_send_raw(struct wire *w, const struct wire_header *head, const void *data, size_t n,
		  const int *fds, unsigned nfds);
/* A right one: a new id (w->id), the size that it has. */
int wire_send(struct wire *w, unsigned command, uint32_t flags, const void *data, size_t n,
	      const int *fds, unsigned nfds);

/* ---- receiving ---- */

/* The next message from @fd.  0, -ECONNRESET at its end, -ETIMEDOUT after @ms, -EPROTO when it is
 * no message. */
int wire_receive(int fd, struct wire_message *message, int ms);
void wire_drop(struct wire_message *message);
/* The answer to @id; the server's own commands meanwhile go to w->serve.  Its length, or -errno. */
long wire_answer(struct wire *w, uint16_t id, struct wire_message *message);
/* Until the server has sent a command of its own and serve has had it: 0 or -errno. */
int wire_serve_one(struct wire *w);
/* Waits for the end of the connection, and serves and drops what comes before: 0 or -ETIMEDOUT. */
int wire_until_end(struct wire *w);
/* Answers a DMA command: @error 0 and @data, or an error. */
int wire_dma_answer(struct wire *w, const struct wire_message *message, int error,
		    const void *data);

/* ---- calls: send and wait for the answer ---- */

/* Answer in @answer (NULL: thrown away): its length, or -errno. */
long wire_call(struct wire *w, unsigned command, const void *data, size_t n, const int *fds,
	       unsigned nfds, struct wire_message *answer);
/* 0 and the reply in @out (@n bytes at most). */
long wire_ask(struct wire *w, unsigned command, const void *data, size_t n, void *out, size_t room);
/* Bytes transferred or -errno. */
long wire_read(struct wire *w, unsigned region, uint64_t offset, void *data, uint32_t count);
long wire_write(struct wire *w, unsigned region, uint64_t offset, const void *data, uint32_t count);
int wire_post(struct wire *w, unsigned region, uint64_t offset, const void *data, uint32_t count);
/* @fd -1: memory that only messages reach. */
long wire_map(struct wire *w, uint64_t address, uint64_t size, int fd, uint64_t offset);
/* @unmapped, when not NULL: what the answer says. */
long wire_unmap(struct wire *w, uint64_t address, uint64_t size, uint32_t flags,
		uint64_t *unmapped);
long wire_set_irqs(struct wire *w, unsigned index, uint32_t flags, uint32_t start, uint32_t count,
		   const int *fds, unsigned nfds);
long wire_reset(struct wire *w);

/* ---- an NVMe controller behind it ---- */

/* Bus mastering and memory on; admin queues of 16 at @address (submission) and the page after it
 * (completion); enabled and ready.  Registers by messages only. */
int wire_nvme_enable(struct wire *w, uint64_t address);
/* Rings the admin submission doorbell. */
int wire_nvme_ring(struct wire *w, unsigned tail);

#endif
