"""What is hidden by default: never what a user called, and exactly the reviewed list.

`plumbing_golden.txt` lists every function of the supported interpreters that the table matches. To
renew it after a deliberate change: MIXSTACK_RENEW=1, then review the difference.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mixstack.symbolize.plumbing import GROUPS, is_plumbing
from tests.interpreters import SUPPORTED, Build
from tests.unit.symbolize.test_elf_symbols import interpreter_file, nm_functions, unsized_in_nm

GOLDEN = Path(__file__).with_name("plumbing_golden.txt")

HIDDEN = """
_PyEval_EvalFrameDefault _PyEval_EvalFrameDefault.cold _PyEval_Vector PyObject_Vectorcall
_PyObject_VectorcallTstate _PyObject_MakeTpCall _PyObject_Call_Prepend PyObject_CallMethodObjArgs
_PyFunction_Vectorcall _PyVectorcall_Call method_vectorcall method_vectorcall_NOARGS
cfunction_vectorcall_FASTCALL cfunction_call PyCFunction_Call slot_tp_init slot_tp_call
slot_nb_add type_call vectorcall_method object_vacall gen_send_ex gen_send_ex.isra.0 gen_iternext
gen_send_ex2 PyIter_Send Py_BytesMain Py_RunMain pymain_run_python pymain_run_file
pymain_run_python.constprop.0 _PyRun_SimpleFileObject _PyRun_AnyFileObject PyRun_StringFlags
run_mod run_eval_code_obj PyEval_EvalCode PyImport_ImportModuleLevelObject import_find_and_load
thread_run pythread_wrapper py_trampoline_evaluator _TAIL_CALL_CALL
function_code_fastcall _PyEval_EvalCodeWithName call_function function_call t_bootstrap call_maybe
_PyMethodDef_RawFastCallKeywords _PyObject_FastCall_Prepend cfunction_call_varargs frame_dealloc
_PyEval_MakeFrameVector _PyFrame_New_NoTrack.constprop.0 trace_call_function gen_close_iter
_PyObject_VectorcallPrepend _PyObject_MaybeCallSpecialNoArgs clear_thread_frame.cold
_Py_VectorCall_StackRefSteal _Py_VectorCallInstrumentation_StackRefSteal _PyJIT_Entry
_Py_BuiltinCallFast_StackRef _Py_BuiltinCallFast_StackRefSteal _Py_CallBuiltinClass_StackRef
_PyCallMethodDescriptorFastWithKeywords_StackRef _PyEval_LazyImportName _PyAsyncGenASend_Send
"""

NEVER = """
list_sort list_sort_impl builtin_sorted builtin_exec builtin_eval builtin_exec_impl builtin_min
builtin___import__ builtin___build_class__ builtin_isinstance builtin_next builtin_sum
scan_once_unicode scanner_call _parse_object_unicode encoder_listencode_obj dict_subscript
dict_vectorcall list_vectorcall tuple_vectorcall PyDict_SetItem PyDict_GetItem _PyDict_LoadGlobal
PyList_Append list_extend PyTuple_New PyUnicode_New unicode_decode_utf8 PyUnicode_Join
PyLong_FromLong long_add long_mul k_mul PyNumber_Add PyNumber_Power PyObject_GetAttr
_PyObject_GenericGetAttrWithDict PyObject_RichCompare PyObject_Repr PyObject_Str PyObject_Hash
gc_collect_main gc_collect gc_collect_impl PyGC_Collect deduce_unreachable _PyObject_GC_New
PyObject_Malloc PyObject_Calloc PyObject_Realloc PyObject_Free PyMem_Malloc _PyObject_Malloc
PyType_GenericAlloc take_gil drop_gil PyEval_RestoreThread PyEval_SaveThread functools_reduce
lru_cache_call bounded_lru_cache_wrapper infinite_lru_cache_wrapper partial_call
partial_vectorcall map_next filter_next zip_next list_iternext enum_next closure_fcn
_CallPythonObject PyCFuncPtr_call _ctypes_callproc zlib_compress memcpy deflate main _start
__libc_start_main task_step TaskStepMethWrapper_call context_run object___reduce_ex__ type_new
object_new object_init subtype_dealloc call_trace call_trampoline trace_trampoline
sys_profile_call_or_return PyErr_CheckSignals _PyErr_SetObject PyException_SetTraceback
specialize _Py_Specialize_Call compiler_visit_expr _PyPegen_run_parser _PyAST_Compile
wrap_in_stopiteration_handler PyImport_ExecCodeModuleObject _imp_create_dynamic marshal_loads
r_object Py_FinalizeEx Py_InitializeFromConfig _PyGen_Finalize gen_dealloc gen_new
method_descr_get func_descr_get property_descr_get super_getattro
PyFrame_New frame_getback _Py_Call collect collect_with_callback PyObject_GC_Del PyIter_Next
module_getattro cmp_outcome import_from init_subclass type_new_set_names calliter_iternext
partial_fastcall partial_vectorcall_fallback gen_finalize _Py_Dealloc atexit_callfuncs
_PyObject_GetAttrStackRef _Py_LoadAttr_StackRefSteal _Py_BuildMap_StackRefSteal
_PyTuple_FromStackRefStealOnSuccess _PyEval_UnpackIterable _PyJIT_Compile _PyJIT_Free
_PyJit_translate_single_bytecode_to_trace _PyOptimizer_Optimize _Py_call_instrumentation_2args
call_instrumentation_vector call_profile_func compile_trampoline _Py_Specialize_CallKw
"""


@pytest.mark.parametrize("name", HIDDEN.split())
def test_hidden(name: str) -> None:
    assert is_plumbing(name)


@pytest.mark.parametrize("name", NEVER.split())
def test_never_hidden(name: str) -> None:
    assert not is_plumbing(name)


def test_each_name_has_one_reason() -> None:
    names = [name for group in GROUPS for name in group.names]
    assert len(names) == len(set(names))
    for group in GROUPS:
        assert group.reason
        others = [name for name in names if name.startswith(group.prefixes or ("\0",))]
        assert others == [], "a prefix covers a name that is also listed"


def golden() -> dict[str, set[str]]:
    """Function names by version: lines of "name versions"."""
    out: dict[str, set[str]] = {}
    for line in GOLDEN.read_text().splitlines():
        name, versions = line.split(maxsplit=1)
        for version in versions.split():
            out.setdefault(version, set()).add(name)
    return out


def matched(build: Build) -> set[str]:
    files = [interpreter_file(build), *archives(build)]
    names = {name for path in files for name in (*nm_functions(path), *unsized_in_nm(path))}
    return {name.partition(".")[0] for name in names if is_plumbing(name)}


def archives(build: Build) -> list[str]:
    """The static library beside a stripped interpreter: it still has the local names."""
    prefix = Path(build.host_executable).parent.parent
    name = f"{build.minor[0]}.{build.minor[1]}"
    return [str(p) for p in prefix.glob(f"lib/python{name}/config-{name}-*/libpython{name}.a")]


@pytest.mark.parametrize("build", SUPPORTED)
def test_matches_exactly_the_reviewed_list(build: Build) -> None:
    version = f"{build.minor[0]}.{build.minor[1]}" + ("-static" if build.static else "")
    found = matched(build)
    assert len(found) > 40
    if os.environ.get("MIXSTACK_RENEW") == "1":
        renew(version, found)
    # The compiler inlines other functions in another build of the same version; but what it left
    # may not contain a name that nobody has looked at.
    reviewed = set[str]().union(*golden().values())
    assert found <= reviewed, "functions that nobody has reviewed"


def renew(version: str, found: set[str]) -> None:
    table = golden() if GOLDEN.exists() else {}
    table[version] = found
    names = sorted(set[str]().union(*table.values()))
    lines = (f"{name} {' '.join(v for v in sorted(table) if name in table[v])}" for name in names)
    GOLDEN.write_text("\n".join(lines) + "\n")
