/* SPDX-License-Identifier: BSD-3-Clause */
/* What the files of the keeper share (keeper.c: how it works; start.c: how it begins and ends). For
 * nobody else.  One thread. */
#ifndef UVFIO_SERVE_KEEPER_H
#define UVFIO_SERVE_KEEPER_H

#include <sys/stat.h>
#include "control/control.h"
#include "serve/confine.h"
#include "serve/mount.h"
#include "serve/outbox.h"
#include "serve/serve.h"
#include "serve/socket.h"
#include "serve/spec.h"
#include "serve/state.h"

enum entry_state {
	ENTRY_NEW,
	ENTRY_ADDING,
	ENTRY_UP,
	ENTRY_DOOMED,
	ENTRY_REMOVING,
	ENTRY_SAVING,
	ENTRY_SAVED, /* or it cannot be */
};

/* A socket that we made, and what is there. */
struct made_socket {
	struct made_socket *next; /* of ->vfs */
	unsigned index;           /* ditto */
	char *path;               /* NULL: none */
	dev_t dev;
	ino_t ino;
};

struct entry {
	struct entry *next;
	uint64_t id;
	enum entry_state state;
	struct serve_device said;
	struct serve_spec spec;
	bool configured; /* by the file, which may change */
	bool has_state;  /* ADDING: with what was saved */
	bool kept;       /* while the file is read again: it is still there */
	int listen_fd;   /* what it is served at, for a new server; -1: none */
	struct made_socket made;
	struct made_socket *vfs; /* of its VFs */
};

/* keeper_upgrade.c */
enum upgrade_state { UPGRADE_NONE, UPGRADE_STARTING, UPGRADE_HANDING, UPGRADE_ADDING };

struct upgrade {
	enum upgrade_state state;
	pid_t pid; /* the new server */
	struct serve_outbox tell;
	int ask;
	bool given, taken;
	struct entry *at;
	int64_t deadline; /* CLOCK_MONOTONIC, ms */
};

/* In the environment of a new server: its descriptors TELL,ASK,CONTROL and how many files its
 * devices have. */
#define SERVE_SUCCESSOR "UVFIO_SERVE_SUCCESSOR"

struct keeper {
	const struct serve_config *config;
	struct serve_identity identity;
	struct serve_passed passed;
	struct entry *entries;
	uint64_t next_id;
	pid_t server;
	struct serve_outbox tell; /* also read from; ->sock -1: there is none yet */
	int ask, signals;
	int control_fd;                      /* until the server has it, or -1 */
	char control_path[CONTROL_PATH_MAX]; /* what we made, or "" */
	int sysfs_fd;                        /* ditto */
	struct serve_mount *mount;           /* of --sysfs, or NULL */
	unsigned nr_children;
	int received;        /* in a child that answers: closed when it has the request */
	bool started, ready; /* the server; all devices of the beginning */
	bool busy;           /* since READY=1 was said last */
	bool reload;         /* asked for */
	bool saving;         /* asked to end: what is UP is saved first */
	bool ending;
	struct upgrade upgrade;
	int control_keep;            /* control's socket, for a new server, or -1 */
	struct serve_states *states; /* of --state, or NULL */
	int status;                  /* exit status */
};

/* To stderr, with the command's name in front. */
void keeper_complain(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* A new entry for what was said; 0 or -errno with a message. */
int keeper_add(struct keeper *keeper, const struct serve_device *said, bool configured,
	       struct uvfio_error *err);
/* keeper_sockets.c.  The server has a VF of @e (NULL: which has gone), and wants a socket for it,
 * or has it no more. */
void keeper_vf_comes(struct keeper *keeper, uint64_t id, struct entry *e, unsigned index);
void keeper_vf_goes(struct entry *e, unsigned index);
/* Make it at @path, as @e says: the descriptor, or -errno with a message. */
int keeper_make_socket(const struct entry *e, const char *path, struct made_socket *made,
		       struct uvfio_error *err);
void keeper_drop_socket(struct made_socket *made);
/* Drops its sockets too. */
void keeper_free_entry(struct keeper *keeper, struct entry *entry);
/* Reads the configuration file, if there is one: what is new is to be added, what has gone is
 * doomed. */
int keeper_load(struct keeper *keeper, struct uvfio_error *err);
/* keeper_state.c.  Before its ADD: tell the server of the state of @e, if there is one.  0, or
 * -errno with a message. */
int keeper_state_load(struct keeper *keeper, struct entry *e, struct uvfio_error *err);
/* It was added, or could not be (!@ok): with its state, or without because that was refused. */
void keeper_state_loaded(struct keeper *keeper, struct entry *e, bool ok);
void keeper_state_refused(struct keeper *keeper, struct entry *e, const char *why);
/* Save the next one of those that are to be saved.  False: there is none. */
bool keeper_state_save(struct keeper *keeper);
void keeper_state_saved(struct keeper *keeper, struct entry *e, int result, const char *why);
/* Begin to exchange the server. */
void keeper_upgrade(struct keeper *keeper);
/* The old one has stopped everything, or has not. */
void keeper_upgrade_given(struct keeper *keeper, int result, const char *why);
/* There is something on the new one's socket. */
void keeper_upgrade_tell(struct keeper *keeper, char *text);
/* It does not go any further: the old one goes on.  Also when nothing is under way. */
void keeper_upgrade_failed(struct keeper *keeper, const char *why);
/* How long to wait for it at most, in ms; -1: for ever. */
int keeper_upgrade_wait(const struct keeper *keeper);
/* start.c: about how many files the devices have. */
unsigned keeper_count_files(const struct keeper *keeper);
/* Everything between start and end.  @text: SERVE_MAX_TEXT bytes for messages. */
void keeper_watch(struct keeper *keeper, char *text);

#endif
