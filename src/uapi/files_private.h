/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The table of open files, shared by files.c (what is open) and closing.c (what is not any more).
 * See files.h.
 */
#ifndef UVFIO_UAPI_FILES_PRIVATE_H
#define UVFIO_UAPI_FILES_PRIVATE_H

#include <stdatomic.h>
#include "uapi/files.h"

#define BUCKETS   64u
#define MAX_FILES 1024u
#define NO_GROUP  (~0u)

struct uapi_nodes; /* nodes.c */

struct uapi_files {
	struct uapi_server *server;
	/* How long who opens waits for imports of memory that look at what is closed.  None of them
	 * waits for a client there, but it may not get its turn.  Constant, but for tests. */
	unsigned look_seconds;
	pthread_mutex_t opening;
	pthread_mutex_t lock; /* what follows */
	struct uapi_file *table[BUCKETS];
	unsigned nr_files, nr_exports;
	struct uapi_file *dying;  /* devices that are being released */
	struct uapi_copy *copies; /* of the program's descriptors, that calls have now */
	uint64_t rounds;          /* `opening` */
	pthread_cond_t died;
	unsigned awaited;     /* how many wait for that */
	uint32_t last_serial; /* of an inode's name */

	struct uapi_nodes *nodes;
	int inotify;
	int wake; /* eventfd: look again, or end */
	atomic_bool ending;
	pthread_t janitor;
};

static inline struct uapi_file **bucket(struct uapi_files *files, ino_t ino)
{
	return &files->table[ino % BUCKETS];
}

/* files.c */

/* @fd opened anew.  -errno. */
int uapi_file_reopen(int fd, int access);
/* A file that is not in the table yet; NULL: -ENFILE.  files->opening held, as for the next. */
struct uapi_file *uapi_file_new(struct uapi_files *files, enum uapi_file_kind kind);
/* Enter @file, which has an inode behind ->probe. */
int uapi_file_insert(struct uapi_files *files, struct uapi_file *file);

/* nodes.c: which nodes there are.  Any thread, but for the first two. */

/* 0 or -errno; what was made is freed by uapi_nodes_free(). */
int uapi_nodes_init(struct uapi_files *files);
void uapi_nodes_free(struct uapi_files *files);
/* What @st describes, as uapi_files_node(), if that is a node; *@ours: it lies where nodes are. */
enum uapi_file_kind uapi_nodes_find(struct uapi_files *files, const struct stat *st,
				    unsigned *group, bool *ours);

/* closing.c */

/* files->opening held, or the end. */
void uapi_file_destroy(struct uapi_files *files, struct uapi_file *file);
/* Lock `opening` with nothing left of @group that is closed. */
void uapi_files_open_begin(struct uapi_files *files, unsigned group, uint64_t call);
/* The janitor looks again, or ends. */
void uapi_files_wake(struct uapi_files *files);
int uapi_files_start_janitor(struct uapi_files *files);
/* Ends the janitor and releases all there is. */
void uapi_files_close_all(struct uapi_files *files);

#endif
