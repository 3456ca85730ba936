/* SPDX-License-Identifier: BSD-3-Clause */
/* Messages for people, carried beside an errno value. */
#include <stdarg.h>
#include <stdio.h>
#include <uvfio/device.h>

int uvfio_error_set(struct uvfio_error *err, int code, const char *fmt, ...)
{
	va_list ap;

	if (!err)
		return code;
	va_start(ap, fmt);
	if (vsnprintf(err->msg, sizeof(err->msg), fmt, ap) < 0)
		err->msg[0] = '\0';
	va_end(ap);
	return code;
}
