/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the files of control share.
 *
 * Threads: everything in struct control and struct client is the context's (control->ctx), but what
 * says otherwise.  A job is the worker's between its start and its completion, which is posted to
 * the context.  Events are pushed into rings by any thread, under trace_lock, a leaf.
 *
 * Life of a request:
 *
 *     bytes ─▶ tokener ─▶ rpc_message() ─▶ call ─▶ method ─▶ call_finish() ─▶ client_send()
 *                              (batch: several calls)  └─▶ job ─▶ worker ─┘
 */
#ifndef UVFIO_CONTROL_CONTROL_PRIVATE_H
#define UVFIO_CONTROL_CONTROL_PRIVATE_H

#include <json-c/json.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/queue.h>
#include "base/ctx.h"
#include "base/log.h"
#include "base/trash.h"
#include "control/control.h"
#include "vfio/observe.h"

#define CONTROL_PROTOCOL 1

/* Limits.  With all of them used up: 64 · (64 KiB of input + what it takes parsed + 12 MiB of
 * answers) + 32 rings of 200 KiB. */
#define MAX_CLIENTS           64u
#define MAX_MESSAGE           65536u      /* bytes of one request or batch, and of input kept */
#define MAX_DEPTH             16          /* of nested JSON */
#define MAX_BATCH             64u         /* requests */
#define MAX_BATCH_SIZE        (4u << 20)  /* bytes of answers; what comes after is refused */
#define OUT_HIGH              65536u      /* bytes unread by the client: it gets no more answered */
#define OUT_MAX               (12u << 20) /* it is cut off */
#define MAX_FDS               16u         /* of one client, not yet taken by a request */
#define MAX_OUT_FDS           8u          /* on their way to one client */
#define MAX_JOBS              64u         /* waiting or running */
#define MAX_CLIENT_JOBS       16u
#define MAX_WORKERS           MAX_JOBS /* so that no job waits for another */
#define MAX_SUBSCRIPTIONS     8u       /* of one client */
#define MAX_ALL_SUBSCRIPTIONS 32u
#define RING_EVENTS           2048u
#define TURN_NS               2000000u /* a client works for so long, then others may */
#define LIST_MAX              256u     /* devices in one answer */

/* JSON-RPC 2.0's, and ours. */
enum {
	RPC_PARSE_ERROR = -32700,
	RPC_INVALID_REQUEST = -32600,
	RPC_METHOD_NOT_FOUND = -32601,
	RPC_INVALID_PARAMS = -32602,
	RPC_INTERNAL_ERROR = -32603,
	RPC_FAILED = -32000, /* the operation failed; data.errno says how */
	RPC_NO_DEVICE = -32001,
	RPC_UNSUPPORTED = -32002, /* not by this server */
	RPC_BUSY = -32003,        /* a limit; try again later */
	RPC_DENIED = -32004,
};

struct rpc_error {
	int code;  /* 0: none */
	int error; /* -errno, 0: none */
	struct uvfio_error msg;
};

struct client;
struct subscription;

/* Requests that are answered together. */
struct batch {
	unsigned pending;
	size_t bytes;
	struct json_object *answers; /* an array */
};

/* One request being answered.  Holds its client. */
struct call {
	struct client *client;
	struct batch *batch; /* NULL: alone */
	struct json_object *id;
	bool notification; /* not answered */
	bool later;        /* set by a method that calls call_finish() itself */
};

/* Answers and frees @call: with @result, owned, or with @err.  In the context. */
void call_finish(struct call *call, struct json_object *result, const struct rpc_error *err);

struct method {
	const char *name;
	/* Returns what to answer, or NULL with *@err, or NULL with call->later set.  @params: an
	 * object, or NULL when there are none. */
	struct json_object *(*run)(struct call *call, struct json_object *params,
				   struct rpc_error *err);
	const char *params[6]; /* the names of its parameters, in the order for arrays */
};

struct client {
	struct control *control;
	struct client *next;
	unsigned refs; /* the list, calls */
	int fd;        /* -1: closed */
	pid_t pid;
	uid_t uid;
	struct uvfio_watch *watch;
	uint64_t last_ns; /* when it last sent something whole */

	struct json_tokener *tokener;
	size_t message; /* bytes of the message in the tokener */
	bool skipping;  /* after something that is not JSON: to the end of the line */
	bool at_end;    /* it will send no more */
	char *in;       /* MAX_MESSAGE bytes, allocated when needed */
	size_t in_pos, in_len;
	int fds[MAX_FDS];
	unsigned nr_fds;

	char *out;
	size_t out_pos, out_len, out_room;
	struct {
		size_t at; /* of @out: the byte that it goes along with */
		int fd;
	} out_fds[MAX_OUT_FDS];
	unsigned nr_out_fds;
	struct uvfio_timer *drain_timer; /* once it sends no more */

	unsigned nr_jobs, nr_calls;
	unsigned nr_subscriptions;
};

struct job;

struct control {
	struct vfio_machine *machine;
	struct uvfio_log *log;
	const struct control_ops *ops;
	void *ops_arg;
	char *name, *command;
	uid_t uid;

	struct uvfio_loop *loop;
	struct uvfio_ctx *ctx;
	struct uvfio_work turn_work, stop_work;
	struct uvfio_trash *trash; /* where files of clients are closed */
	int listen_fd;
	struct uvfio_watch *listen_watch;
	struct uvfio_timer *accept_timer; /* after running out of fds */
	struct client *clients;           /* newest first */
	unsigned nr_clients;
	bool stopping;

	/* Jobs: under job_lock. */
	pthread_mutex_t job_lock;
	pthread_cond_t job_cond;
	struct job *waiting, **waiting_tail;
	pthread_t workers[MAX_WORKERS];
	unsigned nr_workers, nr_idle, nr_jobs;
	unsigned nr_waiting; /* in @waiting; each idle worker takes one of them */
	bool no_more_jobs;
	LIST_HEAD(, job) awaiting; /* whose workers wait for the machine (jobs.h) */
	struct job *done;          /* newest first; taken by the context */
	struct uvfio_work done_work;
	LIST_HEAD(, move_job) moves; /* under way, or not yet answered */
	struct uvfio_timer *move_timer;

	/* Events. */
	pthread_mutex_t trace_lock; /* the list and the rings */
	struct subscription *subscriptions;
	unsigned nr_subscriptions;
	uint64_t next_subscription;
	bool observing; /* the context's */
	int trace_fd;   /* an eventfd: there is something in the rings */
	atomic_bool trace_signalled;
	struct uvfio_watch *trace_watch;
};

/* server.c */
void client_get(struct client *client);
void client_put(struct client *client);
void control_drop(struct client *client); /* close it and forget it */
/* Those that have more to do, or to be told, have a turn again, after the sockets of the others
 * were looked at. */
void control_turn(struct control *control);

/* client.c */
struct client *client_new(struct control *control, int fd, pid_t pid, uid_t uid);
void client_close(struct client *client); /* the list's reference is put by the server */
/* Work for one client; true when there is more. */
bool client_turn(struct client *client);
/* Queue @message for it and send what goes.  Takes no reference. */
void client_send(struct client *client, struct json_object *message);
/* @fd, which becomes the client's, goes with the message that is sent next.  There is room for it. */
void client_send_fd(struct client *client, int fd);
/* Drop it when it sends no more and waits for nothing. */
void client_done(struct client *client);
static inline bool client_blocked(const struct client *client)
{
	return client->out_len - client->out_pos > OUT_HIGH;
}

/* rpc.c */
void rpc_message(struct client *client, struct json_object *message);
struct json_object *rpc_error_message(struct json_object *id, const struct rpc_error *err);
/* Fill in @err and return NULL. */
struct json_object *rpc_fail(struct rpc_error *err, int code, int error, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
/* A string without zero bytes, NULL when it is absent; of the wrong type: false, with @err. */
bool param_string(struct json_object *params, const char *name, const char **out,
		  struct rpc_error *err);
bool param_bool(struct json_object *params, const char *name, bool *out, struct rpc_error *err);
bool param_uint(struct json_object *params, const char *name, uint64_t max, uint64_t *out,
		struct rpc_error *err);
/* The device that the parameter "device" names, held; NULL with @err. */
struct vfio_device *param_device(struct client *client, struct json_object *params,
				 struct rpc_error *err);
extern const struct method rpc_methods[];
extern const unsigned rpc_nr_methods;

/* look.c, show.c, stats.c */
struct json_object *method_version(struct call *, struct json_object *, struct rpc_error *);
struct json_object *method_models(struct call *, struct json_object *, struct rpc_error *);
struct json_object *method_list(struct call *, struct json_object *, struct rpc_error *);
struct json_object *method_lspci(struct call *, struct json_object *, struct rpc_error *);
struct json_object *method_faults(struct call *, struct json_object *, struct rpc_error *);
struct json_object *method_show(struct call *, struct json_object *, struct rpc_error *);
struct json_object *method_stats(struct call *, struct json_object *, struct rpc_error *);
/* What @fn gives for each of the devices that a call is about (the one named, or a page of all), as
 * "devices" of @result, with "total" and, when there are more, "next".  Returns @result; or NULL,
 * and then it has been freed. */
struct json_object *devices_each(struct call *call, struct json_object *params,
				 struct json_object *result,
				 struct json_object *(*fn)(struct vfio_device *dev),
				 struct rpc_error *err);
void json_put(struct json_object *object, const char *key, struct json_object *value);
void json_put_uint(struct json_object *object, const char *key, uint64_t value);
void json_put_string(struct json_object *object, const char *key, const char *value);
void json_put_bool(struct json_object *object, const char *key, bool value);
/* "taint" with the machine's taints, when it has any. */
void json_put_taint(struct json_object *object, const struct control *control);
/* Users of @dev as an array. */
struct json_object *json_users(struct vfio_device *dev);
struct json_object *json_core_stats(struct vfio_device *dev);

/* jobs.c */
struct json_object *method_reset(struct call *, struct json_object *, struct rpc_error *);
struct json_object *method_inject(struct call *, struct json_object *, struct rpc_error *);
struct json_object *method_add(struct call *, struct json_object *, struct rpc_error *);
struct json_object *method_remove(struct call *, struct json_object *, struct rpc_error *);
struct json_object *method_join(struct call *, struct json_object *, struct rpc_error *);
/* set.c */
struct json_object *method_set(struct call *, struct json_object *, struct rpc_error *);
/* sriov.c: what a PF or a VF is, into @out as `list` and as `show` have it; nothing of others. */
void json_put_sriov_brief(struct json_object *out, struct vfio_device *dev);
void json_put_sriov(struct json_object *out, struct vfio_device *dev);
/* migration.c: "migration", whether and how it can be moved, and what becomes of that. */
void json_put_migration(struct json_object *out, struct vfio_device *dev);
/* "driver", when one has it. */
void json_put_driver(struct json_object *out, const struct vfio_device *dev);

/* move_rpc.c */
struct json_object *method_migrate(struct call *, struct json_object *, struct rpc_error *);
struct json_object *method_restore(struct call *, struct json_object *, struct rpc_error *);
struct json_object *method_migrate_cancel(struct call *, struct json_object *, struct rpc_error *);
struct json_object *method_resume(struct call *, struct json_object *, struct rpc_error *);
/* "move": where it is, when that is not simply here, and how far that has come. */
void json_put_move(struct json_object *out, struct control *control, struct vfio_device *dev);

/* open.c */
struct json_object *method_upgrade(struct call *, struct json_object *, struct rpc_error *);
struct json_object *method_open(struct call *, struct json_object *, struct rpc_error *);
void jobs_init(struct control *control);
/* Wait for all; then what is done is answered to nobody. */
void jobs_stop(struct control *control);

/* trace.c */
struct json_object *method_trace(struct call *, struct json_object *, struct rpc_error *);
struct json_object *method_untrace(struct call *, struct json_object *, struct rpc_error *);
int trace_init(struct control *control);
void trace_stop(struct control *control);
/* Send what is in the rings of @client, or of all, as far as they read it. */
void trace_pump(struct control *control);
void trace_client_gone(struct client *client);

#endif
