// SPDX-License-Identifier: BSD-3-Clause
/* Recording what a case sees, and comparing it with what the rule says. */
#include <stdarg.h>
#include "rules.h"

static const struct {
	int err;
	const char *name;
} errno_names[] = {
#define E(name)                                                                                    \
	{                                                                                          \
		name, #name                                                                        \
	}
	E(EPERM),      E(ENOENT),    E(EINTR),     E(EIO),    E(ENXIO),      E(E2BIG),
	E(EBADF),      E(EAGAIN),    E(ENOMEM),    E(EACCES), E(EFAULT),     E(EBUSY),
	E(EEXIST),     E(ENODEV),    E(EINVAL),    E(ENFILE), E(EMFILE),     E(ENOTTY),
	E(EFBIG),      E(ENOSPC),    E(ESPIPE),    E(EROFS),  E(EPIPE),      E(ERANGE),
	E(ENOSYS),     E(ENODATA),   E(EOVERFLOW), E(EBADFD), E(EADDRINUSE), E(EMSGSIZE),
	E(EOPNOTSUPP), E(ETIMEDOUT), E(ENOTDIR),   E(EISDIR), E(ENOMSG),
#undef E
};

const char *errno_name(int err, char buf[16])
{
	for (size_t i = 0; i < ARRAY_LEN(errno_names); i++) {
		if (errno_names[i].err == err)
			return errno_names[i].name;
	}
	snprintf(buf, 16, "E%d", err);
	return buf;
}

static void __attribute__((format(printf, 3, 4)))
append(char *buf, size_t size, const char *format, ...)
{
	size_t len = strlen(buf);
	va_list args;

	va_start(args, format);
	vsnprintf(buf + len, size - len, format, args);
	va_end(args);
}

static void record(struct t *t, const char *label, const char *got, const char *want, bool ok)
{
	struct outcome *out = t->out;

	append(out->result, sizeof(out->result), "%s%s=%s", out->result[0] ? " " : "", label, got);
	if (ok)
		return;
	if (!out->failed)
		append(out->wrong, sizeof(out->wrong), "%s should be %s", label, want);
	out->failed = true;
}

static void number(char *buf, size_t size, long value)
{
	char tmp[16];

	if (value < 0)
		snprintf(buf, size, "%s", errno_name((int)-value, tmp));
	else
		snprintf(buf, size, "%ld", value);
}

void see(struct t *t, const char *label, long got, long want)
{
	char a[32], b[32];

	number(a, sizeof(a), got);
	number(b, sizeof(b), want);
	record(t, label, a, b, got == want);
}

void see_as(struct t *t, const char *label, long got, long want, const char *name)
{
	char a[32], b[64];

	if (got == want) {
		record(t, label, name, name, true);
		return;
	}
	number(a, sizeof(a), got);
	number(b, sizeof(b), want);
	append(b, sizeof(b), " (%s)", name);
	record(t, label, a, b, false);
}

void see_hex(struct t *t, const char *label, uint64_t got, uint64_t want)
{
	char a[32], b[32];

	snprintf(a, sizeof(a), "%#llx", (unsigned long long)got);
	snprintf(b, sizeof(b), "%#llx", (unsigned long long)want);
	record(t, label, a, b, got == want);
}

void see_bool(struct t *t, const char *label, bool got, bool want)
{
	record(t, label, got ? "yes" : "no", want ? "yes" : "no", got == want);
}

void see_true(struct t *t, const char *label, bool got)
{
	see_bool(t, label, got, true);
}

void see_text(struct t *t, const char *label, const char *got, const char *want)
{
	record(t, label, got, want, !strcmp(got, want));
}

void must(struct t *t, const char *label, long rc)
{
	char a[32];

	if (rc >= 0)
		return;
	number(a, sizeof(a), rc);
	record(t, label, a, "a success", false);
	t->out->done = true;
	_exit(0);
}

void skip(struct t *t, const char *reason)
{
	snprintf(t->out->skipped, sizeof(t->out->skipped), "%s", reason);
	t->out->done = true;
	_exit(0);
}

bool since(const struct t *t, unsigned major, unsigned minor)
{
	return t->release >= (major << 8 | minor);
}
