"""Which functions of the interpreter are its plumbing: how it calls, not what it was asked to do.

A frame of plumbing is hidden by default. What a user called or pays for is never plumbing: built-in
functions and methods, operations on objects, the garbage collector, allocation, the GIL, tracing.
The names are those of CPython 3.8 to 3.15; they count only in the interpreter's own module.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

EVALUATOR = "_PyEval_EvalFrameDefault"


class Group(NamedTuple):
    """Functions that are plumbing for one reason: exact names, and beginnings of names."""

    reason: str
    names: frozenset[str]
    prefixes: tuple[str, ...] = ()


GROUPS = (
    Group(
        "the bytecode loop, and setting up and clearing its frames: the Python frame is shown",
        frozenset(
            (
                EVALUATOR,
                "PyEval_EvalCode",
                "PyEval_EvalCodeEx",
                "PyEval_EvalFrame",
                "PyEval_EvalFrameEx",
                "PyFrame_BlockPop",
                "PyFrame_BlockSetup",
                "_PyEvalFrameClearAndPop",
                "_PyEvalFramePushAndInit",
                "_PyEvalFramePushAndInit_Ex",
                "_PyEval_EvalCode",
                "_PyEval_EvalCodeWithName",
                "_PyEval_EvalFrame",
                "_PyEval_FrameClearAndPop",
                "_PyEval_MakeFrameVector",
                "_PyEval_Vector",
                "_PyForIter_VirtualIteratorNext",
                "_PyFrame_Clear",
                "_PyFrame_ClearExceptCode",
                "_PyFrame_ClearLocals",
                "_PyFrame_New_NoTrack",
                "_PyFrame_Push",
                "_PyFrame_PushUnchecked",
                "_PyFunction_Vectorcall",
                "_PyGen_ClearFrame",
                "_PyJIT_Entry",
                "_PyThreadState_PopFrame",
                "_PyThreadState_PushFrame",
                "_Py_HandlePending",
                "clear_gen_frame",
                "clear_thread_frame",
                "eval_frame_handle_pending",
                "frame_dealloc",
                "function_code_fastcall",
                "gen_clear_frame",
                "initialize_locals",
            )
        ),
        ("_TAIL_CALL_",),  # the handlers of builds whose loop is made of tail calls
    ),
    Group(
        "the call protocol: passes arguments on to what is called",
        frozenset(
            (
                "PyCFunction_Call",
                "PyEval_CallFunction",
                "PyEval_CallMethod",
                "PyEval_CallObjectWithKeywords",
                "PyObject_Call",
                "PyObject_CallFunction",
                "PyObject_CallFunctionObjArgs",
                "PyObject_CallMethod",
                "PyObject_CallMethodNoArgs",
                "PyObject_CallMethodObjArgs",
                "PyObject_CallMethodOneArg",
                "PyObject_CallNoArgs",
                "PyObject_CallObject",
                "PyObject_CallOneArg",
                "PyObject_Vectorcall",
                "PyObject_VectorcallDict",
                "PyObject_VectorcallMethod",
                "PyVectorcall_Call",
                "PyVectorcall_Function",
                "PyVectorcall_NARGS",
                "_PyCFunction_FastCallDict",
                "_PyCFunction_FastCallKeywords",
                "_PyFunction_FastCallDict",
                "_PyFunction_FastCallKeywords",
                "_PyMethodDef_RawFastCallDict",
                "_PyMethodDef_RawFastCallKeywords",
                "_PyObjectArray_Free",
                "_PyObjectArray_FromStackRefArray",
                "_PyObject_Call",
                "_PyObject_CallFunctionVa",
                "_PyObject_CallFunction_SizeT",
                "_PyObject_CallMethod",
                "_PyObject_CallMethodFormat",
                "_PyObject_CallMethodId",
                "_PyObject_CallMethodIdObjArgs",
                "_PyObject_CallMethodId_SizeT",
                "_PyObject_CallMethod_SizeT",
                "_PyObject_CallNoArg",
                "_PyObject_CallNoArgTstate",
                "_PyObject_CallNoArgs",
                "_PyObject_CallNoArgsTstate",
                "_PyObject_Call_Prepend",
                "_PyObject_FastCall",
                "_PyObject_FastCallDict",
                "_PyObject_FastCallDictTstate",
                "_PyObject_FastCallKeywords",
                "_PyObject_FastCallTstate",
                "_PyObject_FastCall_Prepend",
                "_PyObject_MakeTpCall",
                "_PyObject_Vectorcall",
                "_PyObject_VectorcallDictTstate",
                "_PyObject_VectorcallPrepend",
                "_PyObject_VectorcallTstate",
                "_PyStack_AsDict",
                "_PyStack_UnpackDict",
                "_PyStack_UnpackDict_Free",
                "_PyStack_UnpackDict_FreeNoDecRef",
                "_PyVectorcall_Call",
                "_Py_CheckFunctionResult",
                "call_function",
                "callmethod",
                "cfunction_call",
                "cfunction_call_varargs",
                "cfunction_check_kwargs",
                "cm_call",
                "do_call_core",
                "function_call",
                "instancemethod_call",
                "method_call",
                "method_check_args",
                "method_vectorcall",
                "object_vacall",
                "sm_call",
                "trace_call_function",
            )
        ),
        (
            "_PyCallMethodDescriptor",  # 3.15: what is called out of the bytecode loop
            "_Py_BuiltinCallFast",
            "_Py_CallBuiltinClass_",
            "_Py_VectorCall",
            "cfunction_vectorcall_",
            "method_vectorcall_",
        ),
    ),
    Group(
        "calls of a class: `__new__` and `__init__` are shown themselves",
        frozenset(("type_call", "type_vectorcall")),
    ),
    Group(
        "special methods: the way from a type's slot to the Python method of that name",
        frozenset(
            (
                "PyObject_CallFinalizer",
                "PyObject_CallFinalizerFromDealloc",
                "_PyObject_MaybeCallSpecialNoArgs",
                "_PyObject_MaybeCallSpecialOneArg",
                "_Py_slot_tp_getattr_hook",
                "_Py_slot_tp_getattro",
                "call_attribute",
                "call_maybe",
                "call_method",
                "call_unbound",
                "call_unbound_noarg",
                "lookup_maybe_method",
                "lookup_method",
                "lookup_method_ex",
                "maybe_call_special_no_args",
                "maybe_call_special_one_arg",
                "releasebuffer_call_python",
                "vectorcall_maybe",
                "vectorcall_method",
                "vectorcall_unbound",
            )
        ),
        ("slot_am_", "slot_bf_", "slot_mp_", "slot_nb_", "slot_sq_", "slot_tp_"),
    ),
    Group(
        "slot wrappers: the way from a method such as `object.__init__` back to a type's slot",
        frozenset(
            (
                "classmethoddescr_call",
                "wrap_binaryfunc",
                "wrap_binaryfunc_l",
                "wrap_binaryfunc_r",
                "wrap_buffer",
                "wrap_call",
                "wrap_del",
                "wrap_delattr",
                "wrap_delitem",
                "wrap_descr_delete",
                "wrap_descr_get",
                "wrap_descr_set",
                "wrap_hashfunc",
                "wrap_indexargfunc",
                "wrap_init",
                "wrap_inquirypred",
                "wrap_lenfunc",
                "wrap_next",
                "wrap_objobjargproc",
                "wrap_objobjproc",
                "wrap_releasebuffer",
                "wrap_setattr",
                "wrap_sq_delitem",
                "wrap_sq_item",
                "wrap_sq_setitem",
                "wrap_ternaryfunc",
                "wrap_ternaryfunc_r",
                "wrap_unaryfunc",
                "wrapper_call",
                "wrapperdescr_call",
                "wrapperdescr_raw_call",
            )
        ),
        ("wrap_richcmp",),
    ),
    Group(
        "resuming generators and coroutines: the generator's own frame is shown",
        frozenset(
            (
                "PyGen_am_send",
                "PyIter_Send",
                "_PyAsyncGenASend_Send",
                "_PyGen_Send",
                "_PyIter_Send",
                "_gen_throw",
                "async_gen_asend_close",
                "async_gen_asend_iternext",
                "async_gen_asend_send",
                "async_gen_asend_throw",
                "async_gen_athrow_close",
                "async_gen_athrow_iternext",
                "async_gen_athrow_send",
                "async_gen_athrow_throw",
                "coro_wrapper_close",
                "coro_wrapper_iternext",
                "coro_wrapper_send",
                "coro_wrapper_throw",
                "gen_close",
                "gen_close_iter",
                "gen_iternext",
                "gen_send",
                "gen_send_ex",
                "gen_send_ex2",
                "gen_throw",
                "gen_throw_current_exception",
            )
        ),
    ),
    Group(
        "running a program: from the process' start to its first Python frame",
        frozenset(
            (
                "Py_BytesMain",
                "Py_Main",
                "Py_RunMain",
                "_pymain_run_repl",
                "pyrun_file",
                "pyrun_simple_file",
                "run_eval_code_obj",
                "run_mod",
            )
        ),
        ("PyRun_", "_PyRun_", "pymain_"),
    ),
    Group(
        "the C between an import statement and the Python code of importlib",
        frozenset(
            (
                "PyImport_Import",
                "PyImport_ImportModule",
                "PyImport_ImportModuleAttr",
                "PyImport_ImportModuleAttrString",
                "PyImport_ImportModuleLevel",
                "PyImport_ImportModuleLevelObject",
                "PyImport_ImportModuleNoBlock",
                "_PyEval_ImportName",
                "_PyEval_ImportNameWithImport",
                "_PyEval_LazyImportName",
                "_PyImport_LazyImportModuleLevelObject",
                "_PyImport_LoadLazyImportTstate",
                "import_find_and_load",
                "import_find_and_load_with_name",
                "import_name",
            )
        ),
    ),
    Group(
        "the start of a thread",
        frozenset(("pythread_wrapper", "t_bootstrap", "thread_run")),
    ),
    Group(
        "perf trampolines",
        frozenset(
            ("_Py_trampoline_func_end", "_Py_trampoline_func_start", "py_trampoline_evaluator")
        ),
    ),
)

_NAMES = frozenset[str]().union(*(group.names for group in GROUPS))
_PREFIXES = tuple(prefix for group in GROUPS for prefix in group.prefixes)


@lru_cache(maxsize=1 << 14)
def is_plumbing(symbol: str) -> bool:
    """Whether a function of the interpreter's module is plumbing.

    The compiler's copies (`gen_send_ex.isra.0`) are what they copy.
    """
    name = symbol.partition(".")[0]
    return name in _NAMES or name.startswith(_PREFIXES)
