/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the commands that speak to a running server share: which server, asking it, and printing.
 */
#ifndef UVFIO_CLI_REMOTE_H
#define UVFIO_CLI_REMOTE_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>
#include "control/control.h"

/* What a command takes besides --machine, --control and --help. */
#define REMOTE_JSON         (1u << 0)
#define REMOTE_FORCE        (1u << 1)
#define REMOTE_MAPPINGS     (1u << 2)
#define REMOTE_PROMETHEUS   (1u << 3)
#define REMOTE_EVENTS       (1u << 4)
#define REMOTE_SURPRISE     (1u << 6)
#define REMOTE_ALL_MACHINES (1u << 5) /* without --machine: every one that runs */

struct remote_command {
	const char *name;
	const char *arguments; /* for the usage line: "DEVICE" */
	const char *help;      /* a sentence or two */
	int min, max;          /* arguments */
	unsigned takes;        /* REMOTE_… */
};

struct remote_options {
	const char *machine, *control; /* NULL: not given */
	unsigned given;                /* REMOTE_… */
	const char *events;
	char **args;
	int nr_args;
};

/* A server, connected. */
struct remote {
	const char *command; /* for messages */
	char path[CONTROL_PATH_MAX];
	char machine[CONTROL_PATH_MAX]; /* "" when it was given as a socket */
	int fd;
	char *buf; /* what has been received and not yet taken */
	size_t len, room;
	struct json_tokener *tokener;
	uint64_t next_id;
	int came; /* a descriptor that the server has sent, plus 1; 0: none */
};

/* Parse; -1 to go on, or what to exit with (messages and help have been printed). */
int remote_options(const struct remote_command *command, int argc, char **argv,
		   struct remote_options *o);
/* Connect to the one server that is meant: 0, or what to exit with and a message printed.  Close it
 * in both cases. */
int remote_open(const struct remote_command *command, const struct remote_options *o,
		struct remote *r);
/* Parse, and connect to the one server that is meant: -1 to go on, or what to exit with; then there
 * is nothing to close. */
int remote_begin(const struct remote_command *command, int argc, char **argv,
		 struct remote_options *o, struct remote *r);
/* The same for every server that is meant, one after the other: @fn for each; the first exit status
 * that is not 0, or 0. */
int remote_each(const struct remote_command *command, const struct remote_options *o,
		int (*fn)(struct remote *r, void *arg), void *arg);
void remote_close(struct remote *r);

/* Call @method with @params (given away; may be NULL): the result, the caller's, or NULL with a
 * message printed. */
struct json_object *remote_call(struct remote *r, const char *method, struct json_object *params);
/* The same with files. */
struct json_object *remote_call_fds(struct remote *r, const char *method,
				    struct json_object *params, const int *fds, unsigned nr_fds);
/* The halves of that, for who does something else meanwhile.  False: it could not be sent. */
bool remote_send(struct remote *r, const char *method, struct json_object *params, const int *fds,
		 unsigned nr_fds);
/* Is @message the answer to what was sent last? */
bool remote_is_answer(const struct remote *r, struct json_object *message);
struct json_object *remote_take_result(struct remote *r, struct json_object *answer);
/* The descriptor that came with the last answer, the caller's; -1: none did. */
int remote_take_fd(struct remote *r);
/* The result of a method that gives "devices" in pages, put together. */
struct json_object *remote_devices(struct remote *r, const char *method, const char *device);
/* The next message that the server sends by itself; NULL: it has gone. */
struct json_object *remote_next(struct remote *r);

/* {"device": @device}, or NULL for NULL. */
struct json_object *remote_device_params(const char *device);

/* ---- looking into answers: absent is 0, "" or NULL ---- */

struct json_object *member(struct json_object *object, const char *key);
uint64_t member_uint(struct json_object *object, const char *key);
const char *member_text(struct json_object *object, const char *key);
bool member_bool(struct json_object *object, const char *key);

/* ---- printing ---- */

/* "Machine demo is tainted: no-iommu.", when @result says so. */
void print_taint(struct json_object *result);
/* "no-iommu, unsafe-interrupts", or "". */
const char *taint_text(struct json_object *result, char out[64]);
/* Text of somebody else's, with what is not printable made visible. */
const char *printable(const char *text, char *out, size_t size);
void print_json(struct json_object *object);
/* {"machines": @machines}, an array, which is given away. */
void print_machines(struct json_object *machines);
/* "4K", "1.5M": for people. */
const char *size_text(uint64_t bytes, char out[24]);
/* "12.3 µs" */
const char *duration_text(uint64_t ns, char out[24]);
/* Local time. */
const char *time_text(uint64_t ns, bool with_date, char out[48]);

/* A table whose columns are as wide as they need to be. */
struct table;
struct table *table_new(const char *const *heads,
			unsigned nr); /* ends the program without memory */
void table_cell(struct table *table, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Print it, each line behind @indent spaces, and free it.  Nothing when it has no cells. */
void table_print(struct table *table, unsigned indent);

/* prometheus.c: what `stats` gives, in the text format. */
void print_prometheus(struct json_object *const *stats, unsigned nr);

#endif
