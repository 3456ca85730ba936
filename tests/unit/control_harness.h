/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A control server on the fixture's machine, and clients that speak to it.
 */
#ifndef TESTS_UNIT_CONTROL_HARNESS_H
#define TESTS_UNIT_CONTROL_HARNESS_H

#include <json-c/json.h>
#include <poll.h>
#include <semaphore.h>
#include <sys/socket.h>
#include <sys/un.h>
#include "control/control.h"
#include "vfio_fixture.h"

struct server {
	struct fixture f;
	struct control *control;
	char dir[64], path[CONTROL_PATH_MAX];
	/* The ops: what they were asked for, and when they go on. */
	pthread_mutex_t lock; /* of what follows, while ops run */
	sem_t entered, go;
	bool hold;
	char added[64], removed[16];
	char fd_keys[64];
	bool forced;
	char fd_bytes[16]; /* read from the first file that came */
	/* Called in the control's context for each device that is described. */
	void (*describing)(struct server *s, const char *device);
};

static int op_add(void *arg, const struct control_add *add, char name[16], struct uvfio_error *err)
{
	struct server *s = arg;

	snprintf(s->added, sizeof(s->added), "%s", add->spec);
	s->fd_keys[0] = '\0';
	for (unsigned i = 0; i < add->nr_fds; i++) {
		size_t len = strlen(s->fd_keys);

		snprintf(s->fd_keys + len, sizeof(s->fd_keys) - len, "%s=%s ", add->fds[i].key,
			 add->fds[i].value);
	}
	if (add->nr_fds && pread(add->fds[0].fd, s->fd_bytes, sizeof(s->fd_bytes) - 1, 0) < 0)
		return uvfio_error_set(err, -EIO, "cannot read it");
	if (!strcmp(add->spec, "bad"))
		return uvfio_error_set(err, -EINVAL, "no such model \"bad\"");
	strcpy(name, "0000:09:00.0");
	return 0;
}

static int op_remove(void *arg, const char *name, enum control_removal how, struct uvfio_error *err)
{
	struct server *s = arg;

	if (s->hold) {
		sem_post(&s->entered);
		sem_wait(&s->go);
	}
	pthread_mutex_lock(&s->lock);
	snprintf(s->removed, sizeof(s->removed), "%s", name);
	s->forced = how == CONTROL_FORCE;
	pthread_mutex_unlock(&s->lock);
	return 0;
}

static void op_describe(void *arg, struct vfio_device *dev, struct json_object *out)
{
	struct server *s = arg;

	if (s->describing)
		s->describing(s, vfio_device_name(dev));
	json_object_object_add(out, "socket", json_object_new_string("/x.sock"));
}

static const struct control_ops server_ops = {op_add, op_remove, op_describe};
static const struct control_ops server_no_ops;

static inline void server_up(struct server *s, const struct control_ops *ops)
{
	struct control_config config = {
		.name = "test", .command = "unit-test", .ops = ops, .ops_arg = s, .uid = geteuid()};
	struct uvfio_error err = {""};
	int fd;

	memset(s, 0, sizeof(*s));
	pthread_mutex_init(&s->lock, NULL);
	sem_init(&s->entered, 0, 0);
	sem_init(&s->go, 0, 0);
	fixture_machine(&s->f);
	fixture_add(&s->f, "probe,memory=on");
	fixture_add(&s->f, "probe");
	fixture_open(&s->f);
	strcpy(s->dir, "/tmp/uvfio-control.XXXXXX");
	assert_non_null(mkdtemp(s->dir));
	snprintf(s->path, sizeof(s->path), "%s/c.sock", s->dir);
	fd = control_listen(s->path, 0600, &err);
	if (fd < 0)
		fail_msg("%s", err.msg);
	s->control = control_new(s->f.machine, fd, &config, &err);
	if (!s->control)
		fail_msg("%s", err.msg);
}

static inline void server_down(struct server *s)
{
	control_free(s->control);
	unlink(s->path);
	rmdir(s->dir);
	fixture_close(&s->f);
	sem_destroy(&s->entered);
	sem_destroy(&s->go);
}

/* ---- a client ---- */

struct peer {
	int fd;
	char buf[1 << 20];
	size_t len;
};

static inline struct peer *peer_new(const struct server *s)
{
	struct peer *p = calloc(1, sizeof(*p));

	assert_non_null(p);
	p->fd = control_connect(s->path);
	assert_true(p->fd >= 0);
	return p;
}

static inline void peer_free(struct peer *p)
{
	close(p->fd);
	free(p);
}

static inline void say_bytes(struct peer *p, const void *bytes, size_t len)
{
	assert_int_equal(send(p->fd, bytes, len, MSG_NOSIGNAL), len);
}

static inline void say(struct peer *p, const char *text)
{
	say_bytes(p, text, strlen(text));
}

/* The next line, or NULL at the end of the connection.  The caller's to free. */
static inline char *hear(struct peer *p)
{
	for (;;) {
		char *newline = memchr(p->buf, '\n', p->len), *line;
		ssize_t n;

		if (newline) {
			size_t len = (size_t)(newline - p->buf);

			line = strndup(p->buf, len);
			p->len -= len + 1;
			memmove(p->buf, newline + 1, p->len);
			return line;
		}
		assert_true(p->len < sizeof(p->buf));
		n = recv(p->fd, p->buf + p->len, sizeof(p->buf) - p->len, 0);
		if (n <= 0)
			return NULL;
		p->len += (size_t)n;
	}
}

/* The next message, parsed. */
static inline struct json_object *hear_json(struct peer *p)
{
	char *line = hear(p);
	struct json_object *json;

	assert_non_null(line);
	json = json_tokener_parse(line);
	if (!json)
		fail_msg("not JSON: %s", line);
	free(line);
	return json;
}

/* What is at "a.b.3.c" of @json; fails when there is nothing. */
static inline struct json_object *at(struct json_object *json, const char *path)
{
	char copy[128], *rest, *part;

	snprintf(copy, sizeof(copy), "%s", path);
	for (part = strtok_r(copy, ".", &rest); part; part = strtok_r(NULL, ".", &rest)) {
		struct json_object *next = NULL;

		if (json_object_is_type(json, json_type_array))
			next = json_object_array_get_idx(json, strtoul(part, NULL, 10));
		else
			json_object_object_get_ex(json, part, &next);
		if (!next)
			fail_msg("nothing at %s in %s", path, json_object_to_json_string(json));
		json = next;
	}
	return json;
}

static inline int64_t number_at(struct json_object *json, const char *path)
{
	return json_object_get_int64(at(json, path));
}

static inline const char *text_at(struct json_object *json, const char *path)
{
	return json_object_get_string(at(json, path));
}

/* Ask and get the answer; the caller's. */
static inline struct json_object *ask(struct peer *p, const char *method, const char *params)
{
	char request[1024];

	snprintf(request, sizeof(request), "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"%s\"%s%s}",
		 method, params ? ",\"params\":" : "", params ? params : "");
	say(p, request);
	return hear_json(p);
}

static inline void expect_error(struct peer *p, const char *method, const char *params, int code,
				const char *word)
{
	struct json_object *answer = ask(p, method, params);

	assert_int_equal(number_at(answer, "error.code"), code);
	if (!strstr(text_at(answer, "error.message"), word))
		fail_msg("'%s' is not in: %s", word, text_at(answer, "error.message"));
	json_object_put(answer);
}

#endif
