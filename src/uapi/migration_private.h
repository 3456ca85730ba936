/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Shared by migration.c (files and what is done with them) and migration_fuse.c (the file system,
 * its threads).
 */
#ifndef UVFIO_UAPI_MIGRATION_PRIVATE_H
#define UVFIO_UAPI_MIGRATION_PRIVATE_H

#define FUSE_USE_VERSION 314
#include <fuse_lowlevel.h>
#include <pthread.h>
#include <sys/queue.h>
#include "uapi/migration.h"

#define MAX_MIGRATIONS 128u
#define MAX_QUEUED     64u        /* requests on one file, besides the one under way */
#define MAX_TRANSFER   (1u << 20) /* bytes of a request: the most that FUSE has */
#define LOOK_NS        10000000 /* how often who polls is woken, and who is interrupted looked at */
#define FIRST_INO      (FUSE_ROOT_ID + 1)

enum op_kind { OP_READ, OP_WRITE, OP_POLL };

/* A request on a file. */
struct op {
	STAILQ_ENTRY(op) next;
	enum op_kind kind;
	fuse_req_t req;
	pid_t tid; /* who waits for it */
	size_t size;
	const void *data; /* to be written: the thread's, or @copy */
	void *copy;
	bool interrupted; /* ->lock, as what follows */
	bool answered;    /* because its task is dying */
	bool answering;   /* that is under way */
};

struct uapi_migration {
	LIST_ENTRY(uapi_migration) next;
	uint64_t ino;
	const struct core_device *df;
	bool saves;
	bool opened, released; /* by the kernel */
	bool ended;            /* its device is closed */
	bool busy;             /* somebody works on it, and so has the fields below and handle */
	unsigned uses;         /* calls that use handle besides */
	struct core_migration *handle; /* NULL: ENODEV */
	struct op *running;
	STAILQ_HEAD(, op) queue;
	unsigned nr_queued;
	struct fuse_pollhandle *poll; /* to be told, or NULL */
	uint8_t *buf;                 /* MAX_TRANSFER bytes */
	size_t len, at;               /* of it: what was read and is still to be given */
};

struct uapi_migrations {
	struct uapi_core *core;
	struct fuse_session *session;
	int opener; /* socket, -1: not there yet */
	int mount;  /* until then */
	pid_t opener_pid;
	dev_t dev;              /* of the files */
	pthread_mutex_t adding; /* over uapi_migrations_add(): the opener, and threads */
	pthread_t threads[MAX_MIGRATIONS + 2];
	unsigned nr_threads; /* `adding` */
	pthread_t watcher;
	bool watching; /* there is one: `adding` */

	pthread_mutex_t lock;   /* what follows, and files */
	pthread_cond_t changed; /* something has come to an end */
	pthread_cond_t watch;   /* the watcher has something to do */
	LIST_HEAD(, uapi_migration) files;
	unsigned nr_files;
	uint64_t last_ino;
	bool look, ending;
};

/* ---- migration.c ---- */

/* ->lock held.  NULL: it has gone. */
struct uapi_migration *migration_find(struct uapi_migrations *m, uint64_t ino);
/* Carry @op out on @ino, now or when it is its turn.  It is answered; takes it. */
void migration_submit(struct uapi_migrations *m, uint64_t ino, struct op *op);
/* The kernel has no descriptor of it any more. */
void migration_released(struct uapi_migrations *m, uint64_t ino);
/* The thread that looks at who waits. */
void *migration_watch(void *arg);

/* ---- migration_fuse.c ---- */

/* 0 or -errno.  @fuse is taken. */
int migration_fuse_init(struct uapi_migrations *m, int fuse);
/* Have @nr threads at least. */
int migration_fuse_threads(struct uapi_migrations *m, unsigned nr);
/* No thread serves any more. */
void migration_fuse_stop(struct uapi_migrations *m);
void migration_fuse_fini(struct uapi_migrations *m);

#endif
