/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the files of this room share.  Nobody else includes it.
 *
 * Who owns what.  A connection lives in a work context of its own on one of the server's loops, and
 * everything in struct wire_conn belongs to that context, except:
 *   - what a job (job.c) works on while the connection is in WORKING, OPENING or CLOSING: the
 *     message in conn->job and the files of the core; the context leaves those alone meanwhile;
 *   - the output side of a stream, under stream->lock: whoever has a message for the client sends
 *     or queues it (a device's DMA does, in its own thread);
 *   - the peer's bookkeeping, under peer->lock;
 *   - the list of a listener's connections and which of them has the device, under server->lock;
 *   - counters, which are atomic.
 *
 * Lock order: (mutex of the core's struct iommu_peer) → peer->lock → stream->lock.  server->lock
 * stands alone.
 */
#ifndef UVFIO_WIRE_PRIVATE_H
#define UVFIO_WIRE_PRIVATE_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include "base/ctx.h"
#include "base/eventfd.h"
#include "base/log.h"
#include "base/trash.h"
#include "iommu/peer.h"
#include "vfio/client.h"
#include "vfio/vfio.h"
#include "vfio/vfio_uapi.h"
#include "wire/protocol.h"
#include "wire/wire.h"

#define ARRAY_SIZE(a)      (sizeof(a) / sizeof((a)[0]))

#define WIRE_XFER_MAX      VFIO_USER_DEFAULT_XFER_SIZE /* bytes of data in one message, both ways */
#define WIRE_MSG_MAX       (WIRE_XFER_MAX + 64u)       /* a whole message, at most */
#define WIRE_HELLO_MAX     8192u                       /* the same before VERSION is done */
#define WIRE_IN_BYTES      8192u /* what one receive takes, but for large messages */
#define WIRE_OUT_BATCH     4096u /* replies that are gathered for one send */
#define WIRE_PENDING       64u   /* commands that wait while one is worked on */
#define WIRE_CLIENTS       16u   /* connections of one listener; then the oldest silent one goes */
#define WIRE_CLIENTS_MAX   64u   /* with those that are going; then nobody is accepted */
#define WIRE_UNMASK_NUMBER 1000  /* numbers for eventfds that unmask start here */
#define WIRE_DMA_MSGS      32u   /* DMA_READ and DMA_WRITE that a client has to answer at a time */
/* QEMU 11.1 sends an answer as far as its socket's buffer takes it (208 KiB by default, and less
 * for small messages) and forgets the rest: what it has to answer must fit.  Bytes of one message,
 * and of all that are out. */
#define WIRE_DMA_LEN   (32u << 10)
#define WIRE_DMA_BYTES (64u << 10)

/* As many fds that do not close at once a client may leave behind before a job looks after them;
 * as many may be left then, or for as long, or the connection ends. */
#define WIRE_LATE      (2u * VFIO_USER_MAX_FDS)
#define WIRE_LATE_LEFT 64u
#define WIRE_LATE_MS   1000u

/* ---- stream.c, stream_send.c: bytes to messages and back ---- */

/* A message as it was received.  The payload lies in the stream's buffer and is valid until the
 * handler returns, unless it is kept (wire_msg_keep()). */
struct wire_msg {
	TAILQ_ENTRY(wire_msg) next; /* of pending commands */
	struct vfio_user_header hdr;
	uint8_t *payload;
	uint32_t len; /* of @payload */
	unsigned nr_fds;
	bool bad_fds; /* more than fit; the others are in the trash */
	int *fds;     /* those that are taken become -1 */
};

/* What is queued for a client that does not take it at the moment. */
struct wire_out {
	TAILQ_ENTRY(wire_out) next;
	struct iommu_peer_msg *dma; /* a DMA message, which may be cancelled; else a reply */
	uint8_t *data;              /* @len bytes from here on, */
	size_t len, off;            /* of which @off were sent */
	const uint8_t *tail;        /* then these: the data of a DMA_WRITE */
	size_t tail_len;
	unsigned nr_fds;
	int *fds; /* to be closed when sent; behind @data */
};
TAILQ_HEAD(wire_outs, wire_out);

struct wire_stream {
	int fd;    /* -1: none */
	bool lent; /* it is still another process' (takeover.c) */
	/* Input: the owner's. */
	uint32_t max;    /* bytes of a message */
	uint8_t *in;     /* WIRE_IN_BYTES, or @big_size while a large message comes in */
	uint32_t have;   /* bytes in it, from the start of a message on */
	uint32_t used;   /* of those: messages that were handed out */
	uint32_t peeked; /* of those: bytes that are still in the socket */
	uint32_t big_size;
	bool eof;
	bool cut;                   /* the last receive ended behind fds, whatever else was there */
	int fds[VFIO_USER_MAX_FDS]; /* that came with the message at @fds_at */
	unsigned nr_fds;
	uint32_t fds_at;
	bool bad_fds;
	struct uvfio_trash *trash; /* where those go that nobody takes */
	unsigned late; /* so many did that do not close at once, since somebody looked */

	/* Output: under @lock. */
	pthread_mutex_t lock;
	uint8_t *batch; /* replies that go with the next send */
	struct wire_outs outs;
	/* Written under @lock; whoever replies looks at them without it, since others only send. */
	_Atomic uint32_t batched; /* bytes in @batch */
	_Atomic size_t queued;    /* bytes of replies in @outs */
	atomic_bool failed;       /* the client has gone */
	atomic_bool want_write;   /* there is something in @outs */
	_Atomic uint64_t *bytes_in, *bytes_out;
};

/* Room for the fds of one message. */
union wire_control {
	char bytes[CMSG_SPACE(sizeof(int) * VFIO_USER_MAX_FDS)];
	struct cmsghdr align;
};

/* -ENOMEM.  Takes @fd, which is non-blocking. */
int wire_stream_init(struct wire_stream *s, int fd, uint32_t max, struct uvfio_trash *trash,
		     _Atomic uint64_t *bytes_in, _Atomic uint64_t *bytes_out);
/* May there be no room for the fds of another message? */
static inline bool wire_stream_late(const struct wire_stream *s)
{
	return s->late > WIRE_LATE - VFIO_USER_MAX_FDS;
}
/* Nobody uses it any more. */
void wire_stream_fini(struct wire_stream *s);
/* One receive.  > 0 bytes; -EAGAIN; 0 end of the stream; -errno; -EPROTO: too many fds. */
ssize_t wire_stream_receive(struct wire_stream *s);
/* The same, but when all that has arrived is one message without fds it stays in the socket, until
 * wire_stream_take(): so that it can be answered sooner. */
ssize_t wire_stream_peek(struct wire_stream *s);
/* Take from the socket what wire_stream_peek() has left there, which was handled.  -EPROTO: it is
 * not there. */
int wire_stream_take(struct wire_stream *s);
/* The next whole message: 1; 0 when it has not arrived yet; -EPROTO when what arrived is none. */
int wire_stream_next(struct wire_stream *s, struct wire_msg *msg);
/* Is there a whole message, or what must be none? */
bool wire_stream_ready(const struct wire_stream *s);
/* A copy of @msg that does not depend on the stream, or NULL. */
struct wire_msg *wire_msg_keep(struct wire_msg *msg);
void wire_msg_free(struct wire_msg *msg, struct uvfio_trash *trash);
/* Close those fds that nobody took; how many of them are in @trash. */
unsigned wire_msg_close_fds(struct wire_msg *msg, struct uvfio_trash *trash);
/* A reply: @hdr, @fixed and @data one after the other; @fds become the stream's.  Small ones are
 * gathered until wire_stream_flush().  0, or -errno when the stream has failed. */
int wire_stream_reply(struct wire_stream *s, const struct vfio_user_header *hdr, const void *fixed,
		      size_t fixed_len, const void *data, size_t data_len, const int *fds,
		      unsigned nr_fds);
/* Send what there is, as far as the client takes it. */
int wire_stream_flush(struct wire_stream *s);
/* No more output: replies are lost, queued DMA messages forgotten (they are the peer's).  The
 * client sees the end of the stream. */
void wire_stream_shut(struct wire_stream *s);
/* Send a DMA message: @head (copied) and @tail, which stays valid until it was answered.  1: not
 * all of it, the rest is queued; 0; -errno. */
int wire_stream_dma(struct wire_stream *s, struct iommu_peer_msg *dma, const void *head,
		    size_t head_len, const void *tail, size_t tail_len);
/* Take an unsent DMA message back.  False: its first byte has gone. */
bool wire_stream_dma_cancel(struct wire_stream *s, struct iommu_peer_msg *dma);
/* Is something of it still queued? */
bool wire_stream_dma_queued(struct wire_stream *s, struct iommu_peer_msg *dma);
/* Bytes of replies that the client does not take. */
size_t wire_stream_queued(struct wire_stream *s);
/* Closes the fds of @out, too. */
void wire_out_free(struct wire_out *out);

/* ---- job.c: threads for what may wait ---- */

struct wire_job {
	TAILQ_ENTRY(wire_job) next;
	void (*fn)(struct wire_job *job);
};
TAILQ_HEAD(wire_jobs, wire_job);

struct wire_workers {
	pthread_mutex_t lock;
	pthread_cond_t wake, ended;
	struct wire_jobs jobs;
	unsigned threads, idle;
	bool stop;
};
/* -EAGAIN: no thread is to be had. */
int wire_workers_init(struct wire_workers *w);
/* All jobs are done. */
void wire_workers_fini(struct wire_workers *w);
/* Run @job in a thread; each caller has one job at a time.  When no further thread can be
 * had, it waits for one. */
void wire_workers_run(struct wire_workers *w, struct wire_job *job);

/* ---- the server ---- */

struct wire_loop {
	struct uvfio_loop *loop;
	/* Which connection had a message last, when that was, and when another had its last before
	 * (ns; 0: never).  Hints: nearly always the loop's thread's. */
	_Atomic(void *) last;
	_Atomic uint64_t when, since;
};

#define WIRE_MAX_LOOPS 2

struct wire_conn;
TAILQ_HEAD(wire_conns, wire_conn);

struct wire_server {
	struct vfio_machine *machine;
	struct uvfio_log *log;
	struct wire_loop loops[WIRE_MAX_LOOPS];
	unsigned nr_loops;
	bool loop_is_given; /* and not ours to free */
	atomic_uint next_loop;
	struct wire_workers workers;
	struct uvfio_eventfd_check eventfds;
	struct uvfio_ratelimit complaints;

	pthread_mutex_t open_lock; /* wire_open_device() makes a listener; before @lock */
	pthread_mutex_t lock;
	pthread_cond_t changed; /* a listener has gone */
	TAILQ_HEAD(, wire_listener) listeners;
};

struct wire_listener {
	TAILQ_ENTRY(wire_listener) next;
	struct wire_server *server;
	struct wire_options options;
	char device[16];
	int fd;
	struct uvfio_ctx *ctx;
	struct uvfio_watch *watch;
	struct uvfio_timer *retry; /* accepting again after we ran out of fds */
	/* Under server->lock. */
	struct wire_conns conns;
	unsigned nr_conns;
	struct wire_conn *active;  /* has the device, is getting it, or is giving it back */
	struct wire_conns waiting; /* for it, in this order */
	bool closing;
	bool left; /* by wire_unlisten(): the last connection frees it */
	bool made; /* by wire_open_device(); nobody has it */
	unsigned pins;
};

/* open.c: one that wire_open_device() made is @options' owner's from now on; NULL: there is none.
 */
struct wire_listener *wire_take_made(struct wire_server *server, const char *device,
				     const struct wire_options *options);
/* server.c: make such a one; 0 or -errno with a message. */
int wire_make_listener(struct wire_server *server, const char *device,
		       const struct wire_options *options, struct uvfio_error *err);
/* server.c: is @fd a stream socket, and does it listen?  Makes it non-blocking: 0, -EINVAL, -errno. */
int wire_check_socket(int fd, bool listening);
/* server->lock is held.  Free it if nobody needs it any more. */
void wire_listener_reap_locked(struct wire_listener *listener);

/* ---- conn.c ---- */

enum wire_state {
	WIRE_HELLO,   /* waits for VERSION */
	WIRE_WAITING, /* for the device to come back from the previous client */
	WIRE_OPENING, /* a job opens the device */
	WIRE_READY,   /* commands are handled as they come */
	WIRE_WORKING, /* a job does one; further ones wait */
	WIRE_CLOSING, /* a job gives the device back */
	WIRE_STATES,
};

#define WIRE_SPENT 16u

struct wire_peer;
struct wire_version;

struct wire_conn {
	TAILQ_ENTRY(wire_conn) next; /* of the listener's; server->lock */
	bool evicted;                /* server->lock */
	TAILQ_ENTRY(wire_conn) wait; /* of the listener's ->waiting, if @waits; server->lock */
	bool waits;                  /* server->lock */
	atomic_bool unwanted;        /* its client has shut its sending half, and somebody waits */
	struct wire_server *server;
	struct wire_listener *listener;
	struct wire_loop *loop;
	struct uvfio_ctx *ctx;
	_Atomic(enum wire_state) state;
	struct wire_stream stream, twin;
	struct uvfio_watch *watch, *twin_watch;
	bool write_watched, twin_write_watched;
	struct uvfio_timer *timer;       /* for VERSION */
	struct uvfio_work close_work;    /* somebody wants it closed */
	struct uvfio_work go_work;       /* the device has come back */
	struct uvfio_work job_done_work; /* the job is done */
	struct uvfio_work output_work;   /* output must be watched for */
	struct uvfio_work ended_work;    /* DMA messages were taken back */
	struct uvfio_work turn_work;     /* messages are left in the buffer */
	bool dying;                      /* closed; a job is still at work */
	bool half_closed;                /* goes when its last reply has */
	bool ended;                      /* it sends no more: goes when all is answered */
	struct uvfio_work freeze_work, stop_work;
	struct wire_frozen *freeze;   /* server->lock: it is to be frozen, or is (handover.c) */
	bool freeze_wanted;           /* when the job is done */
	bool stopped;                 /* nothing is received, whatever comes */
	bool reading;                 /* the socket is watched for input */
	struct wire_version *version; /* from HELLO to READY */

	/* The job's while there is one. */
	struct wire_job job;
	void (*job_fn)(struct wire_conn *conn);
	struct wire_msg *job_msg;
	int error;      /* what the job came to */
	bool has_token; /* to be presented; until it is opened */
	struct vfio_token token;
	bool too_late;                 /* the client's files do not close */
	struct vfio_unmap *unmap_left; /* a DMA_UNMAP that the job ends, and its answer */
	struct vfio_user_header unmap_hdr;
	struct vfio_iommu_type1_dma_unmap unmap_req;
	TAILQ_HEAD(, wire_msg) pending; /* commands behind the one that is worked on */
	unsigned nr_pending;

	/* The core's files; from OPENING to CLOSING. */
	struct vfio_container *container;
	struct vfio_group_file *group_file;
	struct vfio_device_file *df;
	struct vfio_migration_file *migration; /* its latest session; a job's */
	uint8_t *migration_kept; /* bytes of it that an error has come behind: for the next read */
	size_t migration_at, migration_end; /* what of these is left */
	struct wire_peer *peer;
	/* Where the client's files are closed (base/trash.h), those that it mapped for DMA too: the
	 * device does not wait for that, nor does the next client.  The connection counts as one of
	 * its listener's until all are. */
	struct uvfio_trash *trash;

	/* What was negotiated. */
	uint16_t minor;
	uint32_t max_xfer; /* that the client takes */
	uint32_t rx_fds;   /* that it may send in one message */
	uint32_t max_fds;  /* that the client takes */
	bool twin_socket;

	int view_fd; /* the file behind the BARs, once somebody has asked for it; or -1 */

	/* The ioeventfd of its doorbells; the watch is the device's context's. */
	int doorbell_fd;
	struct uvfio_watch *doorbell_watch;

	/* The eventfd that unmasks INTx: a program's has a number, by which it is known again. */
	int unmask_fd;
	int32_t unmask_number;

	int spent[WIRE_SPENT]; /* fds to close when the replies have been sent */
	unsigned nr_spent;

	/* A region access that was begun on the loop and goes on in a job: its bytes, and the
	 * writes of a REGION_WRITE_MULTI, that are done.  0 between commands. */
	size_t resume;
	uint64_t resume_at;

	uint8_t *io; /* data of region accesses; grows */
	size_t io_size;

	/* The turn: the clock when it was last looked at, and when others are to have theirs. */
	uint64_t now, turn_end; /* ns */
	unsigned turn_messages;

	/* Spinning, and looking for more behind fds. */
	unsigned spin_skip, spin_misses;
	bool ping_pong; /* the last receive brought one message, which was answered */
	unsigned more_skip, more_misses;

	int32_t pid;
	struct vfio_who who;
	uint64_t since;
	_Atomic uint64_t messages, bytes_in, bytes_out, errors;
};

#define OF_WORK(ptr, member)                                                                       \
	((struct wire_conn *)((char *)(ptr)-offsetof(struct wire_conn, member)))

static inline void set_state(struct wire_conn *conn, enum wire_state state)
{
	atomic_store(&conn->state, state);
}

static inline enum wire_state state_of(struct wire_conn *conn)
{
	return atomic_load_explicit(&conn->state, memory_order_relaxed);
}

/* For a counter that only the connection's context writes. */
static inline void wire_count(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n,
			      memory_order_relaxed);
}

/* -ENOMEM; @fd becomes the connection's in any case.  @token, NULL: none, is copied.  (conn_open.c)
 */
int wire_conn_new(struct wire_listener *listener, int fd, const struct vfio_token *token);
/* server.c: where the device is; -ENODEV. */
int wire_find_group(struct wire_server *server, const char *device, unsigned *group, bool *noiommu);
const char *wire_state_name(enum wire_state state);
void wire_conn_complain(struct wire_conn *conn, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
/* The functions of its works but go_work. */
void wire_conn_works(struct wire_conn *conn);
/* Receive, handle, send: what there is. */
void wire_conn_turn(struct wire_conn *conn);
/* The second socket can be read or written; a connection. */
void wire_conn_on_twin(void *arg);

/* ---- conn_spin.c ---- */

/* After a receive that ended behind fds: is there another message? */
bool wire_conn_more_behind_fds(struct wire_conn *conn);
/* A receive that waits a little, or does not try: like wire_stream_receive().  Keeps conn->now. */
ssize_t wire_conn_spin(struct wire_conn *conn);

/* ---- conn_output.c ---- */

/* Send a reply to @msg, or nothing if none is wanted.  @error: a positive errno, and then there is
 * no payload. */
void wire_reply(struct wire_conn *conn, const struct wire_msg *msg, const void *fixed,
		size_t fixed_len, const void *data, size_t data_len, const int *fds,
		unsigned nr_fds);
void wire_reply_error(struct wire_conn *conn, const struct wire_msg *msg, int error);
/* Send what there is, as far as the client takes it; then close what was done with. */
int wire_conn_flush(struct wire_conn *conn);
/* [context] Close @fd, of a kind that ends at once, when the client has been answered. */
void wire_conn_spent(struct wire_conn *conn, int fd);
/* A buffer of at least @size bytes for the data of one reply; NULL without memory. */
uint8_t *wire_io_buffer(struct wire_conn *conn, size_t size);
/* May another message be received and handled? */
bool wire_conn_may_go_on(struct wire_conn *conn);
/* After anything that may have queued or sent something, or changed what may be received.  May
 * close the connection. */
void wire_conn_watch(struct wire_conn *conn);
/* Have the connection's output looked after by its context.  Any thread. */
void wire_conn_output(struct wire_conn *conn);
void wire_conn_output_work(struct uvfio_work *work);
void wire_conn_ended_work(struct uvfio_work *work);

/* ---- conn_job.c ---- */

/* What was asked for cannot be done at once: keep @msg, do @fn in a worker, then go on.  No more
 * commands are handled meanwhile. */
void wire_work(struct wire_conn *conn, struct wire_msg *msg, void (*fn)(struct wire_conn *conn));
/* Do @fn in a worker, in @state; the connection goes on when it is done. */
void wire_conn_job(struct wire_conn *conn, enum wire_state state,
		   void (*fn)(struct wire_conn *conn));
void wire_conn_job_done(struct uvfio_work *work);
/* When it has left too many fds behind that do not close: have a job wait for that. */
void wire_conn_wait_late(struct wire_conn *conn);

/* ---- conn_close.c ---- */

/* Close it from its own context; what is queued for it is lost. */
void wire_conn_close(struct wire_conn *conn);
/* From any thread, with server->lock held. */
void wire_conn_close_later(struct wire_conn *conn);
void wire_conn_close_work(struct uvfio_work *work);
/* It is dying, and no job is at work: give the device back, if it has it, and go. */
void wire_conn_begin_closing(struct wire_conn *conn);
/* Nothing of the core is left to it. */
void wire_conn_go_away(struct wire_conn *conn);

/* ---- handover.c ---- */

void wire_freeze_work(struct uvfio_work *work);
void wire_stop_work(struct uvfio_work *work);
/* [context] A job is done and somebody waits for the connection to be frozen: now it is. */
void wire_conn_freeze(struct wire_conn *conn);
/* [context] It was let go. */
void wire_conn_thawed(struct wire_conn *conn);
/* server->lock is held: it has gone. */
void wire_freeze_gone_locked(struct wire_conn *conn);

/* ---- conn_open.c ---- */

/* The parts of a connection that wire_conn_new() and wire_take_over() make alike; -ENOMEM, and then
 * wire_conn_unmake() is called.  @fd becomes the connection's. */
struct wire_conn *wire_conn_make(struct wire_listener *listener, int fd, uint32_t max);
void wire_conn_unmake(struct wire_conn *conn);
/* Open the device for it: 0 or a positive errno. */
int wire_conn_open_device(struct wire_conn *conn, bool continues);

/* ---- command.c ---- */

/* Handle one command of a connection in READY, or in HELLO. */
void wire_command(struct wire_conn *conn, struct wire_msg *msg);
/* May fds come with this command? */
bool wire_command_takes_fds(unsigned command);

/* ---- version.c ---- */

/* What a client proposed and what it gets. */
struct wire_version {
	uint16_t minor;
	uint32_t max_xfer, max_fds; /* that the client takes */
	uint32_t rx_fds;            /* that it may send in one message */
	bool twin_socket;
	bool continues;  /* it wants to go on where the device was left */
	char reply[512]; /* JSON with its zero, or nothing */
	size_t reply_len;
	char continued[512]; /* the reply when it does go on */
	size_t continued_len;
};
/* 0, or a positive errno with a message. */
int wire_version_parse(const uint8_t *payload, uint32_t len, uint64_t dma_entries,
		       struct wire_version *out, struct uvfio_error *err);
/* The first message: check it, then get the device. */
void wire_conn_hello(struct wire_conn *conn, struct wire_msg *msg);
/* Answer VERSION when a job has opened the device, or has failed to (conn->error).  [context] */
void wire_do_version(struct wire_conn *conn, struct wire_msg *msg);

/* ---- the commands; each replies ---- */

void wire_do_dma_map(struct wire_conn *conn, struct wire_msg *msg);
void wire_do_dma_unmap(struct wire_conn *conn, struct wire_msg *msg);
void wire_do_get_info(struct wire_conn *conn, struct wire_msg *msg);
void wire_do_region_info(struct wire_conn *conn, struct wire_msg *msg);
void wire_do_region_io_fds(struct wire_conn *conn, struct wire_msg *msg);
/* Before the device is let go. */
void wire_doorbell_free(struct wire_conn *conn);
/* The eventfd @fd, which becomes the connection's in any case, is that of its doorbells: 0 or
 * -ENOMEM. */
int wire_doorbell_take(struct wire_conn *conn, int fd);
void wire_do_irq_info(struct wire_conn *conn, struct wire_msg *msg);
void wire_do_set_irqs(struct wire_conn *conn, struct wire_msg *msg);
void wire_do_region_read(struct wire_conn *conn, struct wire_msg *msg);
void wire_do_region_write(struct wire_conn *conn, struct wire_msg *msg);
void wire_do_write_multi(struct wire_conn *conn, struct wire_msg *msg);
void wire_do_reset(struct wire_conn *conn, struct wire_msg *msg);
void wire_do_feature(struct wire_conn *conn, struct wire_msg *msg);
void wire_do_mig_read(struct wire_conn *conn, struct wire_msg *msg);
void wire_do_mig_write(struct wire_conn *conn, struct wire_msg *msg);

/* ---- client.c: a message as the core's client ---- */

/* A request whose structure lies at the client's address 0, @in bytes of it given, up to @size
 * bytes wide. */
struct wire_client {
	struct vfio_client client;
	struct wire_conn *conn;
	struct wire_msg *msg; /* whose fds may be taken */
	uint8_t *buf;
	size_t in, size;
	size_t out; /* what was written reaches to here */
	/* SET_IRQS with eventfds: their numbers, which the message does not carry. */
	bool numbers;
	int32_t first_number;
	/* DMA_MAP: what is imported. */
	int fd;
	int seals; /* of a memory file, or -1 */
	uint64_t address;
	struct iommu_mem mem;
};
extern const struct vfio_client_ops wire_client_ops;
/* dma.c: what it does with memory (struct type1_memory_ops). */
int wire_import(void *client, uint64_t vaddr, uint64_t size, unsigned prot, struct iommu_mem **mem,
		unsigned *nr);
void wire_release(void *client, struct iommu_mem *mem, unsigned nr);
void wire_client_init(struct wire_client *c, struct wire_conn *conn, struct wire_msg *msg,
		      void *buf, size_t in, size_t size);

/* ---- migration.c ---- */

int wire_give_migration(struct vfio_client *client, struct vfio_migration_file *file, int32_t *fd);
/* The connection's session of migration data, if there is one: it is not needed any more. */
void wire_migration_end(struct wire_conn *conn);

/* ---- peer.c: DMA by messages ---- */

struct wire_peer *wire_peer_new(struct wire_conn *conn, uint32_t max_xfer);
struct iommu_peer *wire_peer_iommu(struct wire_peer *peer);
/* A reply of the client's.  -EPROTO: it answers nothing that was asked. */
int wire_peer_reply(struct wire_peer *peer, struct wire_msg *msg);
/* [the connection's context] End what the core took back. */
void wire_peer_ended(struct wire_peer *peer);
/* What it has found out, for a peer that takes its place; -EBUSY: the client has to answer
 * messages. */
int wire_peer_layout(struct wire_peer *peer);
#define WIRE_PEER_LAYOUT_MAX 2u
void wire_peer_set_layout(struct wire_peer *peer, unsigned layout);
/* The connection has gone: ends everything and drops the connection's reference. */
void wire_peer_close(struct wire_peer *peer);

#endif
