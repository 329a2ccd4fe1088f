//! Functions that run in the widest vectors the processor has.

/// Defines functions whose bodies are compiled for every level of vector instructions; a call takes the best that is there. A closure
/// given to pulp will not do: where the compiler does not inline it, it is compiled once, for the oldest processors.
macro_rules! vectorized {
    ($(
        $(#[$attribute:meta])*
        $scope:vis fn $name:ident<$life:lifetime $(, $kernel:ident: $bound:ident)?>($($input:ident: $type:ty),* $(,)?) $(-> $output:ty)? $body:block
    )*) => {$(
        $(#[$attribute])*
        $scope fn $name<$life $(, $kernel: $bound)?>($($input: $type),*) $(-> $output)? {
            struct Work<$life $(, $kernel)?> { $($input: $type),* }

            impl<$life $(, $kernel: $bound)?> pulp::NullaryFnOnce for Work<$life $(, $kernel)?> {
                type Output = vectorized!(@ $($output)?);

                #[inline(always)]
                fn call(self) -> Self::Output {
                    // The inputs of a function are known not to overlap.
                    #[inline(always)]
                    fn run<$life $(, $kernel: $bound)?>($($input: $type),*) $(-> $output)? $body
                    run($(self.$input),*)
                }
            }
            pulp::Arch::new().dispatch(Work { $($input),* })
        }
    )*};
    (@ $output:ty) => { $output };
    (@) => { () };
}

pub(super) use vectorized;
