/* An interpreter that lives in a thread of a C program: the first thread never runs Python.
 *
 * Runs the script argv[1] there. */
#include <Python.h>
#include <pthread.h>
#include <stdio.h>

static void *host_python(void *path)
{
	FILE *file = fopen(path, "r");

	Py_Initialize();
	if (file)
		PyRun_SimpleFileEx(file, path, 1);
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t thread;

	if (argc != 2 || pthread_create(&thread, NULL, host_python, argv[1]))
		return 2;
	pthread_join(thread, NULL);
	return 1;
}
