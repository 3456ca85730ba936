/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The options of a device (`--device MODEL,key=value,…`): look up and parse.  The values come from
 * the person who starts the server; a wrong one is answered with the key, the value and what is
 * valid.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uvfio/device.h>

const char *uvfio_arg(const struct uvfio_args *args, const char *key)
{
	for (unsigned i = args->nr_options; i-- > 0;)
		if (!strcmp(args->options[i].key, key))
			return args->options[i].value;
	return NULL;
}

enum number { NUMBER_OK, NUMBER_SYNTAX, NUMBER_RANGE };

/* Decimal, or hexadecimal after 0x; no sign, no blanks.  *@end is what follows the digits. */
static enum number parse_number(const char *s, uint64_t *out, const char **end)
{
	uint64_t base = 10, v = 0;
	bool any = false, overflow = false;

	if (s[0] == '0' && (s[1] == 'x' || s[1] == 'X')) {
		base = 16;
		s += 2;
	}
	for (;; s++) {
		uint64_t digit;

		if (*s >= '0' && *s <= '9')
			digit = *s - '0';
		else if (base == 16 && *s >= 'a' && *s <= 'f')
			digit = *s - 'a' + 10;
		else if (base == 16 && *s >= 'A' && *s <= 'F')
			digit = *s - 'A' + 10;
		else
			break;
		any = true;
		if (__builtin_mul_overflow(v, base, &v) || __builtin_add_overflow(v, digit, &v))
			overflow = true;
	}
	*end = s;
	*out = v;
	if (!any)
		return NUMBER_SYNTAX;
	return overflow ? NUMBER_RANGE : NUMBER_OK;
}

int uvfio_arg_size(const struct uvfio_args *args, const char *key, uint64_t *out,
		   struct uvfio_error *err)
{
	const char *value = uvfio_arg(args, key), *end;
	unsigned shift = 0;
	enum number how;
	uint64_t v;

	if (!value)
		return 0;
	how = parse_number(value, &v, &end);
	switch (*end) {
	case 'T':
	case 't':
		shift += 10; /* fall through */
	case 'G':
	case 'g':
		shift += 10; /* fall through */
	case 'M':
	case 'm':
		shift += 10; /* fall through */
	case 'K':
	case 'k':
		shift += 10;
		end++;
	}
	if (how == NUMBER_SYNTAX || *end)
		return uvfio_error_set(
			err, -EINVAL,
			"%s=%s: not a size; give a number of bytes, if you like with "
			"K, M, G or T behind it (as in %s=64M)",
			key, value, key);
	if (how == NUMBER_RANGE || v > UINT64_MAX >> shift)
		return uvfio_error_set(err, -EINVAL,
				       "%s=%s: too large; the limit is 2^64 - 1 bytes", key, value);
	*out = v << shift;
	return 0;
}

int uvfio_arg_uint(const struct uvfio_args *args, const char *key, uint64_t min, uint64_t max,
		   uint64_t *out, struct uvfio_error *err)
{
	const char *value = uvfio_arg(args, key), *end;
	enum number how;
	uint64_t v;

	if (!value)
		return 0;
	how = parse_number(value, &v, &end);
	if (how == NUMBER_SYNTAX || *end)
		return uvfio_error_set(err, -EINVAL,
				       "%s=%s: not a number; give one from %" PRIu64 " to %" PRIu64,
				       key, value, min, max);
	if (how == NUMBER_RANGE || v < min || v > max)
		return uvfio_error_set(err, -EINVAL,
				       "%s=%s: out of range; give a number from %" PRIu64
				       " to %" PRIu64,
				       key, value, min, max);
	*out = v;
	return 0;
}

int uvfio_arg_bool(const struct uvfio_args *args, const char *key, bool *out,
		   struct uvfio_error *err)
{
	static const struct {
		const char *word;
		bool value;
	} words[] = {
		{"on", true},   {"yes", true}, {"true", true},   {"1", true},
		{"off", false}, {"no", false}, {"false", false}, {"0", false},
	};
	const char *value = uvfio_arg(args, key);

	if (!value)
		return 0;
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if (!strcmp(value, words[i].word)) {
			*out = words[i].value;
			return 0;
		}
	}
	return uvfio_error_set(err, -EINVAL, "%s=%s: give %s=on or %s=off", key, value, key, key);
}

static const struct {
	const char *name;
	uint64_t ns;
} time_units[] = {{"s", 1000000000}, {"ms", 1000000}, {"us", 1000}, {"ns", 1}};

/* The largest unit in which @ns is a whole number. */
static const char *time_text(char *buf, size_t size, uint64_t ns)
{
	unsigned i = 0;

	while (ns % time_units[i].ns)
		i++;
	snprintf(buf, size, "%" PRIu64 "%s", ns / time_units[i].ns, time_units[i].name);
	return buf;
}

int uvfio_arg_time(const struct uvfio_args *args, const char *key, uint64_t min, uint64_t max,
		   uint64_t *out, struct uvfio_error *err)
{
	const char *value = uvfio_arg(args, key), *end;
	uint64_t v, unit = 0;
	char low[32], high[32];
	enum number how;

	if (!value)
		return 0;
	how = parse_number(value, &v, &end);
	for (unsigned i = 0; i < sizeof(time_units) / sizeof(time_units[0]); i++)
		if (!strcmp(end, time_units[i].name))
			unit = time_units[i].ns;
	if (how == NUMBER_OK && !v && !*end)
		unit = 1;
	if (how == NUMBER_SYNTAX || !unit)
		return uvfio_error_set(err, -EINVAL,
				       "%s=%s: not a time; give a number with ns, us, ms or s "
				       "behind it (as in %s=10us)",
				       key, value, key);
	if (how == NUMBER_RANGE || __builtin_mul_overflow(v, unit, &v) || v < min || v > max)
		return uvfio_error_set(
			err, -EINVAL, "%s=%s: out of range; give a time from %s to %s", key, value,
			time_text(low, sizeof(low), min), time_text(high, sizeof(high), max));
	*out = v;
	return 0;
}
