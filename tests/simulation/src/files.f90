!> The few file operations that Fortran lacks, from the C library.
module files
   use, intrinsic :: iso_c_binding, only: c_char, c_int, c_null_char, c_ptr, c_null_ptr, c_associated, c_f_pointer, c_size_t
   implicit none
   private
   public :: rename_file, remove_file, make_directory, absolute_path

   interface
      integer(c_int) function c_rename(old, new) bind(c, name='rename')
         import :: c_char, c_int
         character(kind=c_char), intent(in) :: old(*), new(*)
      end function c_rename
      integer(c_int) function c_remove(path) bind(c, name='remove')
         import :: c_char, c_int
         character(kind=c_char), intent(in) :: path(*)
      end function c_remove
      integer(c_int) function c_mkdir(path, mode) bind(c, name='mkdir')
         import :: c_char, c_int
         character(kind=c_char), intent(in) :: path(*)
         ! mode_t is an unsigned int on Linux.
         integer(c_int), value :: mode
      end function c_mkdir
      type(c_ptr) function c_realpath(path, resolved) bind(c, name='realpath')
         import :: c_char, c_ptr
         character(kind=c_char), intent(in) :: path(*)
         type(c_ptr), value :: resolved
      end function c_realpath
      integer(c_size_t) function c_strlen(text) bind(c, name='strlen')
         import :: c_ptr, c_size_t
         type(c_ptr), value :: text
      end function c_strlen
      subroutine c_free(memory) bind(c, name='free')
         import :: c_ptr
         type(c_ptr), value :: memory
      end subroutine c_free
   end interface

contains

   !> Renames a file over any older one, atomically: a reader finds the whole old file or the whole new one.
   logical function rename_file(old, new)
      character(*), intent(in) :: old, new
      rename_file = c_rename(trim(old)//c_null_char, trim(new)//c_null_char) == 0
   end function rename_file

   !> Removes a file. True if it is gone by this call.
   logical function remove_file(path)
      character(*), intent(in) :: path
      remove_file = c_remove(trim(path)//c_null_char) == 0
   end function remove_file

   !> Makes a directory; its parent must exist. True if it is there afterwards.
   logical function make_directory(path)
      character(*), intent(in) :: path
      ! 448 = rwx------; a directory that exists already is as good.
      if (c_mkdir(trim(path)//c_null_char, 448_c_int) == 0) then
         make_directory = .true.
      else
         inquire (file=trim(path)//'/.', exist=make_directory)
      end if
   end function make_directory

   !> The absolute path of something that exists; empty if it does not.
   function absolute_path(path) result(absolute)
      character(*), intent(in) :: path
      character(:), allocatable :: absolute
      type(c_ptr) :: resolved
      character(kind=c_char), pointer :: characters(:)
      integer :: k

      absolute = ''
      resolved = c_realpath(trim(path)//c_null_char, c_null_ptr)
      if (.not. c_associated(resolved)) return
      call c_f_pointer(resolved, characters, [c_strlen(resolved)])
      do k = 1, size(characters)
         absolute = absolute//characters(k)
      end do
      call c_free(resolved)
   end function absolute_path

end module files
