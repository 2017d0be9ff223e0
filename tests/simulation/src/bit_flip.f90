!> A transient fault: one bit of one double in memory changes once.
module bit_flip
   use kinds, only: dp, int64
   use grid, only: mesh_type, state_type, n_ghosts, i_energy
   use random, only: generator_type, new_generator
   implicit none
   private
   public :: flip_type, flip_bit, random_flip, variable_names, variable_index

   character(10), parameter :: variable_names(4) = [character(10) :: 'density', 'momentum_x', 'momentum_y', 'energy']

   !> Which bit flips, and when. It lives in the process, not in the state: a checkpoint knows nothing of it, and it does not come
   !> again when the run goes back, as a particle that struck a memory cell does not.
   type :: flip_type
      logical :: planned = .false.
      logical :: done = .false.
      !> Image whose interval the fault falls into: it happens after image `step` - 1, before time step `cycle` (1 is the first) of
      !> that interval.
      integer :: step = 0
      integer :: cycle = 1
      integer :: i = 1, j = 1
      !> Position in `variable_names`.
      integer :: variable = 4
      !> 0 is the lowest bit of the mantissa, 52 the lowest of the exponent, 63 the sign.
      integer :: bit = 55
      !> Strike the first zone from (i, j) on along x whose bit is 0, so that the value rises. A zone that loses its energy is
      !> filled up by its neighbours at once, and no image shows it.
      logical :: upward = .false.
      !> The values before and after; set when it has happened.
      real(dp) :: before = 0.0_dp, after = 0.0_dp
   contains
      procedure :: strike
   end type flip_type

contains

   !> `value` with one of its 64 bits inverted.
   elemental real(dp) function flip_bit(value, bit)
      real(dp), intent(in) :: value
      integer, intent(in) :: bit
      flip_bit = transfer(ieor(transfer(value, 0_int64), shiftl(1_int64, bit)), 0.0_dp)
   end function flip_bit

   !> Lets the fault happen if its moment has come. True if it did.
   logical function strike(self, state, next_step, cycle_in_interval)
      class(flip_type), intent(inout) :: self
      type(state_type), intent(inout) :: state
      !> Image that the solver is on its way to, and number of the coming time step of that interval, from 1.
      integer, intent(in) :: next_step, cycle_in_interval

      strike = self%planned .and. .not. self%done .and. next_step == self%step .and. cycle_in_interval == self%cycle
      if (.not. strike) return
      if (self%upward) call move_to_clear_bit(self, state)
      self%before = state%u(self%i, self%j, self%variable)
      self%after = flip_bit(self%before, self%bit)
      state%u(self%i, self%j, self%variable) = self%after
      self%done = .true.
   end function strike

   subroutine move_to_clear_bit(self, state)
      class(flip_type), intent(inout) :: self
      type(state_type), intent(in) :: state
      integer :: i, nx

      nx = ubound(state%u, 1) - n_ghosts
      do i = self%i, self%i + nx - 1
         if (btest(transfer(state%u(1 + modulo(i - 1, nx), self%j, self%variable), 0_int64), self%bit)) cycle
         self%i = 1 + modulo(i - 1, nx)
         return
      end do
   end subroutine move_to_clear_bit

   !> A fault drawn by `seed`: any zone, an exponent bit of its energy, before an image from `first` to `last`, at the first time
   !> step of that interval.
   !>
   !> Only faults that an eye sees in the next image, and that a solver with floors survives, are drawn: energy times 16, 256 or
   !> 65536, a hot spot of at least five pixels across. A single zone with another density is a dot of one to ten pixels, the low
   !> bits of the mantissa change nothing that an image of 128 colours could show, and bit 62 makes a zero or an infinity, which a
   !> solver finds without help. README.md says how often the fainter ones are seen; any of them can be chosen by hand.
   function random_flip(mesh, seed, first, last) result(flip)
      type(mesh_type), intent(in) :: mesh
      integer, intent(in) :: seed, first, last
      type(flip_type) :: flip
      type(generator_type) :: generator

      generator = new_generator(seed, 2)
      flip%planned = .true.
      flip%variable = i_energy
      flip%upward = .true.
      call generator%between(first, last, flip%step)
      call generator%between(1, mesh%nx, flip%i)
      call generator%between(1, mesh%ny, flip%j)
      call generator%between(54, 56, flip%bit)
   end function random_flip

   !> Position of a variable's name, 0 if there is none such.
   pure integer function variable_index(name)
      character(*), intent(in) :: name
      do variable_index = size(variable_names), 1, -1
         if (variable_names(variable_index) == name) return
      end do
   end function variable_index

end module bit_flip
