/* SPDX-License-Identifier: BSD-3-Clause */
/* The options of uvfio_pci_open(). */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "driver/driver_private.h"

static int yes_no(const char *key, const char *value, bool *out, struct uvfio_error *err)
{
	if (!strcmp(value, "yes") || !strcmp(value, "on"))
		*out = true;
	else if (!strcmp(value, "no") || !strcmp(value, "off"))
		*out = false;
	else
		return uvfio_error_set(err, -EINVAL, "option %s=%s: say yes or no", key, value);
	return 0;
}

/* 8-4-4-4-12 hexadecimal digits. */
static bool is_uuid(const char *s)
{
	for (unsigned i = 0; i < 36; i++) {
		if (i == 8 || i == 13 || i == 18 || i == 23) {
			if (s[i] != '-')
				return false;
		} else if (!isxdigit((unsigned char)s[i])) {
			return false;
		}
	}
	return s[36] == '\0';
}

static int set_vf_token(struct drv_options *opt, const char *value, struct uvfio_error *err)
{
	if (!is_uuid(value))
		return uvfio_error_set(err, -EINVAL,
				       "option vf_token: not a UUID; it looks like "
				       "2ab74924-c335-45f4-9b16-8569e5b08258");
	memcpy(opt->vf_token, value, sizeof(opt->vf_token));
	return 0;
}

static int set_via(struct drv_options *opt, const char *value, struct uvfio_error *err)
{
	static const char *const names[] = {
		[DRV_VIA_AUTO] = "auto",
		[DRV_VIA_GROUP] = "group",
		[DRV_VIA_CDEV] = "cdev",
	};

	for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (!strcmp(value, names[i])) {
			opt->via = (enum drv_via)i;
			return 0;
		}
	}
	return uvfio_error_set(err, -EINVAL, "option via=%s: say auto, group or cdev", value);
}

static int set_timeout(struct drv_options *opt, const char *value, struct uvfio_error *err)
{
	char *end;
	unsigned long n;

	errno = 0;
	n = strtoul(value, &end, 10);
	if (!isdigit((unsigned char)*value) || *end || errno || n > 86400)
		return uvfio_error_set(err, -EINVAL,
				       "option timeout=%s: say seconds, 0 (never) to 86400", value);
	opt->timeout = (unsigned)n;
	return 0;
}

static int set_option(struct drv_options *opt, const char *key, const char *value, bool vfio_user,
		      struct uvfio_error *err)
{
	enum { BOTH, KERNEL, SOCKET };
	static const struct {
		const char *key;
		int where;
	} known[] = {
		{"vf_token", KERNEL}, {"via", KERNEL}, {"share", SOCKET},   {"posted", SOCKET},
		{"twin", SOCKET},     {"mmap", BOTH},  {"timeout", SOCKET}, {"continue", SOCKET},
	};
	unsigned i;

	for (i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (!strcmp(key, known[i].key))
			break;
	if (i == sizeof(known) / sizeof(known[0]))
		return uvfio_error_set(
			err, -EINVAL,
			"unknown option '%s'; there are vf_token, via, share, posted, "
			"twin, mmap, timeout and continue",
			key);
	if (known[i].where == (vfio_user ? KERNEL : SOCKET))
		return uvfio_error_set(err, -EINVAL, "option %s is for %s only", key,
				       vfio_user ? "devices of /dev/vfio" : "vfio-user sockets");
	switch (i) {
	case 0:
		return set_vf_token(opt, value, err);
	case 1:
		return set_via(opt, value, err);
	case 2:
		return yes_no(key, value, &opt->share, err);
	case 3:
		return yes_no(key, value, &opt->posted, err);
	case 4:
		return yes_no(key, value, &opt->twin, err);
	case 5:
		return yes_no(key, value, &opt->mmap, err);
	case 7:
		return yes_no(key, value, &opt->go_on, err);
	default:
		return set_timeout(opt, value, err);
	}
}

int drv_options_parse(struct drv_options *opt, const char *text, bool vfio_user,
		      struct uvfio_error *err)
{
	char *copy, *save = NULL;
	int ret = 0;

	*opt = (struct drv_options){
		.share = true, .posted = true, .twin = true, .mmap = true, .timeout = 30};
	if (!text)
		return 0;
	copy = strdup(text);
	if (!copy)
		return uvfio_error_set(err, -ENOMEM, "no memory");
	for (char *key = strtok_r(copy, ", ", &save); key && !ret;
	     key = strtok_r(NULL, ", ", &save)) {
		char *value = strchr(key, '=');

		if (!value) {
			ret = uvfio_error_set(err, -EINVAL, "option '%s' has no value: say %s=…",
					      key, key);
			break;
		}
		*value++ = '\0';
		ret = set_option(opt, key, value, vfio_user, err);
	}
	explicit_bzero(copy, strlen(text)); /* there may be a token in it */
	free(copy);
	return ret;
}
